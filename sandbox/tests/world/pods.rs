//! Pods: containers as real processes, exec, restarts, probes, termination, volumes.

use heddle_sandbox::fabric::Layout;
use serde_json::json;

use crate::world::World;

const SLEEP: &str = "exec sleep 1000";

pub(crate) async fn exec_returns_the_commands_own_status(layout: Layout) {
    let world = World::up(layout, 1).await;
    world.shell("a", "node-1", SLEEP, json!(null));
    let pod = world.ready("a").await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["podIP"], "10.244.1.2");
    assert_eq!(pod["status"]["podIPs"][1]["ip"], "fd00:10:244:1::2");
    assert_eq!(pod["status"]["hostIP"], "172.30.0.11");
    for (argv, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["no-such-program"], 127),
        (&["/etc/hosts"], 126),
    ] {
        assert_eq!(world.exec("a", argv).await.status.code(), Some(code), "{argv:?}");
    }
    assert_eq!(world.says("a", &["hostname"]).await, "a\n");
    assert!(world.says("a", &["cat", "/etc/resolv.conf"]).await.contains("default.svc.cluster.local"));
    assert!(world.says("a", &["cat", "/etc/hosts"]).await.contains("10.244.1.2\ta"));
    assert_eq!(world.says("a", &["ls", "/run/heddle"]).await, "");
    world.down().await;
}

pub(crate) async fn a_crashed_container_is_started_again_and_keeps_its_last_log(layout: Layout) {
    let world = World::up(layout, 1).await;
    world.shell("crash", "node-1", "echo run; exit 3", json!(null));
    let pod = world
        .until("crash", "restarted", |pod| {
            pod["status"]["containerStatuses"][0]["restartCount"].as_u64() >= Some(2)
        })
        .await;
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(status["lastState"]["terminated"]["reason"], "Error");
    let log = world.layout.container_log(pod["metadata"]["uid"].as_str().unwrap(), "main");
    assert_eq!(std::fs::read_to_string(log.with_extension("log.1")).unwrap(), "run\n");
    world.shell("once", "node-1", "exit 0", json!({"restartPolicy": "OnFailure"}));
    world.until("once", "done", |pod| pod["status"]["phase"] == "Succeeded").await;
    world.shell("bad", "node-1", "exit 1", json!({"restartPolicy": "Never"}));
    world.until("bad", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    world.down().await;
}

pub(crate) async fn readiness_follows_the_probe(layout: Layout) {
    let world = World::up(layout, 1).await;
    let serve = "mkdir -p /www; cd /www; exec busybox httpd -f -p 8080";
    let probe = json!({"containers": [{
        "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ok", "port": "web"}, "periodSeconds": 1, "failureThreshold": 1},
    }]});
    world.shell("web", "node-1", serve, probe);
    let running = |pod: &serde_json::Value| pod["status"]["phase"] == "Running";
    let pod = world.until("web", "running", running).await;
    assert_eq!(crate::world::condition(&pod, "Ready"), "False");
    world.says("web", &["sh", "-c", "mkdir -p /www; echo ok > /www/ok"]).await;
    world.ready("web").await;
    // The prober may die: another one takes its place.
    world.fabric.nodes()[0].cgroup().child("kubelet").kill().unwrap();
    world.says("web", &["mv", "/www/ok", "/www/not"]).await;
    world.until("web", "unready", |pod| crate::world::condition(pod, "Ready") == "False").await;
    world.says("web", &["mv", "/www/not", "/www/ok"]).await;
    world.ready("web").await;
    world.says("web", &["rm", "/www/ok"]).await;
    world.until("web", "unready", |pod| crate::world::condition(pod, "Ready") == "False").await;
    let probe = |probe| json!({"containers": [{"livenessProbe": probe}]});
    let failing = json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1});
    world.shell("sick", "node-1", SLEEP, probe(failing));
    world
        .until("sick", "restarted", |pod| {
            pod["status"]["containerStatuses"][0]["restartCount"].as_u64() >= Some(1)
        })
        .await;
    world.down().await;
}

pub(crate) async fn a_deleted_pod_ends_within_its_grace_period_and_goes(layout: Layout) {
    let world = World::up(layout, 1).await;
    world.shell("polite", "node-1", "trap 'exit 0' TERM; while :; do sleep 0.05; done", json!(null));
    world.shell("deaf", "node-1", "trap '' TERM; while :; do sleep 0.05; done", json!(null));
    world.ready("polite").await;
    let pod = world.ready("deaf").await;
    let record = world.layout.pod_record("node-1", pod["metadata"]["uid"].as_str().unwrap());
    let text = std::fs::read_to_string(&record).unwrap();
    assert!(text.contains(r#""hostInterface":"veth"#), "{text}");
    let began = std::time::Instant::now();
    world.delete("polite");
    world.until("polite", "gone", serde_json::Value::is_null).await;
    assert!(began.elapsed().as_millis() < 900, "{:?}", began.elapsed());
    world.delete("deaf");
    world.until("deaf", "gone", serde_json::Value::is_null).await;
    assert!(began.elapsed().as_millis() > 1000);
    assert!(!record.exists());
    world.down().await;
}

pub(crate) async fn volumes_environment_and_init_containers_reach_the_container(layout: Layout) {
    let world = World::up(layout, 1).await;
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"greeting": "hello"},
                        "metadata": {"name": "settings", "namespace": "default"}});
    world.shell(
        "late",
        "node-1",
        SLEEP,
        json!({
            "volumes": [{"name": "config", "configMap": {"name": "settings"}},
                        {"name": "shared", "emptyDir": {}},
                        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
            "initContainers": [{"name": "first", "image": "busybox", "command": ["sh", "-c", "echo made > /shared/by-init"],
                                "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}],
            "containers": [{
                "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                        {"name": "WHERE", "value": "on $(NODE)"},
                        {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "greeting"}}}],
                "workingDir": "/shared",
                "volumeMounts": [{"name": "config", "mountPath": "/etc/deep/config", "readOnly": true},
                                 {"name": "shared", "mountPath": "/shared"},
                                 {"name": "token", "mountPath": "/var/run/secrets/tokens"}],
            }],
        }),
    );
    world
        .until("late", "waiting for its ConfigMap", |pod| {
            pod["status"]["initContainerStatuses"][0]["state"]["waiting"]["message"]
                .as_str()
                .is_some_and(|message| message.contains("settings"))
        })
        .await;
    world.create(config);
    world.ready("late").await;
    let script = "cat by-init /etc/deep/config/greeting; echo; echo $WHERE $GREETING; test -s /var/run/secrets/tokens/t";
    assert_eq!(world.says("late", &["sh", "-c", script]).await, "made\nhello\non node-1 hello\n");
    let refused = world.exec("late", &["touch", "/etc/deep/config/x"]).await;
    assert_ne!(refused.status.code(), Some(0));
    assert!(!std::path::Path::new("/etc/deep").exists());
    world.down().await;
}
