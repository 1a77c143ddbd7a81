//! ClusterIPs and names: what pods reach each other by.

use heddle_sandbox::fabric::Layout;
use serde_json::{Value, json};

use crate::world::World;

const SERVE: &str = "mkdir -p /www && cd /www && hostname > name && exec busybox httpd -f -p 8080";

fn service(name: &str, more: &Value) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"tier": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}});
    for (key, value) in more.as_object().into_iter().flatten() {
        service["spec"][key] = value.clone();
    }
    service
}

/// Two web pods on two nodes and a client that serves nothing.
async fn two_web_pods(world: &World) {
    for (name, node) in [("web-1", "node-1"), ("web-2", "node-2")] {
        let port = json!({"containers": [{"ports": [{"name": "web", "containerPort": 8080}],
            "readinessProbe": {"tcpSocket": {"port": "web"}}}], "hostname": name, "subdomain": "each"});
        world.shell_labelled(name, node, SERVE, port, &json!({"tier": "web"}));
    }
    world.shell("client", "node-1", "exec sleep 1000", json!(null));
    for name in ["web-1", "web-2", "client"] {
        world.ready(name).await;
    }
}

pub(crate) async fn a_cluster_ip_leads_to_every_ready_endpoint_in_both_families(layout: Layout) {
    let world = World::up(layout, 2).await;
    world.create(service("web", &json!({"ipFamilyPolicy": "RequireDualStack"})));
    world.create(service("nobody", &json!({"selector": {"tier": "none"}})));
    two_web_pods(&world).await;
    for family in ["-4", "-6"] {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let url = "http://web/name";
            seen.insert(world.says("client", &["curl", "-sSf", family, "-m", "3", url]).await);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["web-1\n", "web-2\n"], "{family}");
    }
    // Through its own Service a pod reaches itself too: every attempt must succeed.
    for _ in 0..10 {
        let output = world.exec("web-1", &["curl", "-sSf", "-m", "3", "http://web.default/name"]).await;
        assert!(output.status.success(), "{output:?}");
    }
    // 7: refused at once, not timed out.
    let output = world.exec("client", &["curl", "-sS", "-m", "3", "http://nobody/"]).await;
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let on_node = world.on_node("node-2", &["curl", "-sSf", "-m", "3", &world.url("web")]).await;
    assert!(on_node.status.success(), "{on_node:?}");
    world.down().await;
}

pub(crate) async fn names_resolve_as_in_a_cluster(layout: Layout) {
    let world = World::up(layout, 2).await;
    world.create(service("web", &json!({"ipFamilyPolicy": "RequireDualStack"})));
    world.create(service("each", &json!({"clusterIP": "None", "ipFamilyPolicy": "RequireDualStack"})));
    two_web_pods(&world).await;
    let resolves = async |name: &str, want: &[&str]| {
        let output = world.says("client", &["getent", "ahosts", name]).await;
        for address in want {
            assert!(output.contains(address), "{name}: {output}");
        }
    };
    resolves("web", &["10.96.", "fd00:10:96::"]).await;
    resolves("web.default.svc", &["10.96."]).await;
    resolves("web.default.svc.cluster.local", &["10.96."]).await;
    resolves("each", &["10.244.1.", "10.244.2.", "fd00:10:244:1::"]).await;
    resolves("web-2.each", &["10.244.2.2"]).await;
    resolves("10-244-2-2.default.pod", &["10.244.2.2"]).await;
    assert!(!world.exec("client", &["getent", "hosts", "absent"]).await.status.success());
    world.down().await;
}
