//! Verbs that read: agents and the controller are asked in their pods.

use heddle_apiserver::Setup;
use serde_json::{Value, json};

use crate::front::Script;
use crate::{Desk, err, node, out, own, runs};

const TYPES: [&str; 5] = ["Mesh", "Authorization", "Traffic", "Address", "LocalWorkload"];

fn agent(node: &str) -> Value {
    let types = TYPES.map(|kind| (kind.to_owned(), json!({"state": "SYNCED", "error": ""})));
    json!({"node": node, "version": "0.1.0", "connected": true, "types": serde_json::Map::from_iter(types)})
}

/// Three nodes: two with an agent, one whose agent's image is not there.
async fn desk() -> Desk {
    let admin = "heddle-agent admin GET";
    let own_status =
        json!({"version": "0.1.0", "workloads": {"enrolled": 3, "failed": []}, "certificates": 2});
    let drops = json!({"counters": [{"where": "guard", "reason": "spoofed", "count": 7}], "pods": []});
    let mut script = Script::new();
    let mut says = |command: String, answer: &Value| script.insert(command, Ok(answer.to_string()));
    for pod in ["heddle-agent-a", "heddle-agent-b"] {
        says(format!("{pod} {admin} /status"), &own_status);
    }
    says(format!("heddle-agent-a {admin} /drops"), &drops);
    let status = json!({"synced": true, "agents": [agent("node-1"), agent("node-2")]});
    says("heddle-controller-x heddle-controller admin GET /status".to_owned(), &status);
    script.insert(
        "heddle-agent-b heddle-agent admin GET /drops".to_owned(),
        Err("heddle-agent: reading the kernel: no such map".to_owned()),
    );
    let log = "[2026-11-21T14:53:12.175Z] a line of shop/cart-7d-x to 10.244.1.9\n[2026-11-21T14:53:13.175Z] of another\n";
    script.insert("heddle-agent-a log".to_owned(), Ok(log.to_owned()));
    let desk = Desk::new(Setup::default(), script).await;
    for name in ["node-1", "node-2", "node-10"] {
        desk.double().put(node(name));
    }
    desk.double().put(own("heddle-agent", "heddle-agent-a", "node-1", &runs()));
    desk.double().put(own("heddle-agent", "heddle-agent-b", "node-2", &runs()));
    let waits = json!({"waiting": {"reason": "ErrImageNeverPull", "message": "the image is not present"}});
    desk.double().put(own("heddle-agent", "heddle-agent-c", "node-10", &waits));
    desk.double().put(own("heddle-controller", "heddle-controller-x", "node-1", &runs()));
    desk.double().namespace("shop", &json!({}));
    desk.double().put(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "cart"}}, "template": {}}}));
    desk.double().put(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "cart-7d-x", "namespace": "shop", "labels": {"app": "cart"}, "uid": "u-1"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "x"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.244.1.2"}]}}));
    desk
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_every_node_and_one_without_an_agent_is_not_connected() {
    let desk = desk().await;
    let output = desk.heddle("status").await;
    let text = out(&output);
    assert!(output.status.success(), "{text}{}", err(&output));
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[1].starts_with("node-1 ") && lines[1].contains("yes") && lines[1].contains("SYNCED"),
        "{text}"
    );
    assert!(lines[3].starts_with("node-10") && lines[3].contains("no "), "{text}");
    let json: Value = serde_json::from_str(&out(&desk.heddle("status -o json").await)).unwrap();
    assert_eq!((json["synced"].as_bool(), json["agents"].as_array().unwrap().len()), (Some(false), 3));
    let late = desk.heddle("status --wait --timeout 300ms").await;
    assert!(!late.status.success() && err(&late).contains("not every agent is SYNCED"), "{}", err(&late));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_answer_is_named_and_keeps_nobody_elses_answer_back() {
    let desk = desk().await;
    let output = desk.heddle("drops").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("node-1   guard   spoofed   7"), "{}", out(&output));
    let said = err(&output);
    assert!(
        said.contains("the agent of node-2 (pod heddle-agent-b)") && said.contains("no such map"),
        "{said}"
    );
    assert!(
        said.contains(
            "no agent runs on node node-10 (pod heddle-agent-c: ErrImageNeverPull: the image is not present)"
        ),
        "{said}"
    );
    let output = desk.heddle("drops --node node-1 -o json").await;
    let json: Value = serde_json::from_str(&out(&output)).unwrap();
    assert!(output.status.success() && json["node-1"]["counters"].is_array(), "{json}");
    let output = desk.heddle("bpf --node node-7").await;
    assert!(
        err(&output).contains("has no node 'node-7'; it has node-1, node-2, node-10"),
        "{}",
        err(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_named_as_kubectl_names_them() {
    let desk = desk().await;
    let pod = desk.double().get("pods", "shop", "cart-7d-x").unwrap();
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    let question = format!("heddle-agent-a heddle-agent admin GET /config/listeners?pod={uid}");
    for pod in ["deploy/cart -n shop", "cart-7d-x -n shop", "shop/cart-7d-x", "pod/cart-7d-x -n shop"] {
        desk.heddle(&format!("config listeners {pod}")).await;
    }
    assert_eq!(desk.front.asked(), vec![question; 4], "each of them is the same question");
    for (pod, said) in [
        ("cart-7d-x", "no pod 'cart-7d-x' in namespace 'default' of context 'double'"),
        ("deploy/no -n shop", "deployments.apps \"no\" not found"),
    ] {
        let output = desk.heddle(&format!("config listeners {pod}")).await;
        assert!(output.status.code() == Some(1) && err(&output).contains(said), "{}", err(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_the_lines_of_the_agent_of_the_pods_node_that_are_about_the_pod() {
    let desk = desk().await;
    let output = desk.heddle("logs deploy/cart -n shop").await;
    let line = "[2026-11-21T14:53:12.175Z] a line of shop/cart-7d-x to 10.244.1.9\n";
    assert_eq!(out(&output), line, "{}", err(&output));
    let output = desk.heddle("logs shop/cart-7d-x --tail 1 -o json").await;
    let json: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(json[0]["node"], "node-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn analyze_reads_the_cluster() {
    let desk = desk().await;
    let clean: Value = serde_json::from_str(&out(&desk.heddle("analyze -o json").await)).unwrap();
    assert!(clean.as_array().unwrap().iter().all(|each| each["severity"] != "error"), "{clean}");
    desk.double().put(json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "v", "namespace": "shop"},
        "spec": {"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "nowhere"}}]}]}}));
    let output = desk.heddle("analyze -n shop -o json").await;
    let found: Value = serde_json::from_str(&out(&output)).unwrap();
    let found = found.as_array().unwrap();
    assert!(found.iter().any(|each| each["name"] == "v" && each["severity"] == "error"), "{found:?}");
    assert_eq!((output.status.code(), found[0]["file"].as_str()), (Some(1), Some("cluster/double")));
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_are_absent_or_forbidden_are_said_once_and_stop_nothing() {
    let desk = Desk::new(Setup { mesh: false, rbac: true, ..Setup::default() }, Script::new()).await;
    let output = desk.heddle("analyze -o json").await;
    let said = err(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("not served by this cluster, left out: ").count(), 1, "{said}");
    assert!(said.contains("virtualservices.networking.istio.io"), "{said}");
    desk.double().put(
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["services"], "verbs": ["list"]}]}),
    );
    desk.double().put(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}]}));
    desk.double().put(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"},
        "spec": {"ports": [{"port": 80}]}}),
    );
    desk.double().user("anns", "ann", &[]);
    desk.log_in("anns");
    let output = desk.heddle("analyze -o json").await;
    let said = err(&output);
    assert!(output.status.success() && said.contains("you may not list these, left out"), "{said}");
    assert!(said.contains("secrets") && !said.contains("services.core"), "{said}");
}
