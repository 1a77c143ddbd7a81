//! How a sandbox ends when its process is killed, how fast it comes, and how pods of the mesh wait.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use heddle_sandbox::cgroup::Cgroup;
use heddle_sandbox::container::{self, Target};
use heddle_sandbox::fabric::Layout;
use serde_json::{Value, json};

use crate::world::{World, nothing_is_left};

/// A second process of this program brings a sandbox up (`hold`), and is killed without a chance to clean up.
pub(crate) async fn a_killed_sandbox_leaves_no_process_and_cleanup_takes_the_rest(layout: Layout) {
    let mut holder =
        Command::new("/proc/self/exe").args(["hold", layout.name()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let cgroup = Cgroup::root().unwrap().child(&layout.cgroup_name());
    assert!(processes(cgroup.path()) >= 6);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let began = Instant::now();
    while processes(cgroup.path()) > 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "{} processes remain", processes(cgroup.path()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    heddle_sandbox::cleanup::cleanup(layout.name()).unwrap();
    nothing_is_left(&layout);
}

/// What the second process does.
pub(crate) async fn hold(layout: Layout) {
    let world = World::up(layout, 2).await;
    world.shell("deaf", "node-1", "trap '' TERM; sleep 1000 & sleep 1000", json!(null));
    world.shell("host", "node-2", "exec sleep 1000", json!({"hostNetwork": true}));
    world.ready("deaf").await;
    world.ready("host").await;
    println!("up");
    std::future::pending::<()>().await;
}

fn processes(cgroup: &std::path::Path) -> usize {
    let own = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default().lines().count();
    let children = std::fs::read_dir(cgroup).into_iter().flatten().flatten();
    own + children.filter(|entry| entry.path().is_dir()).map(|entry| processes(&entry.path())).sum::<usize>()
}

pub(crate) async fn two_nodes_and_ten_pods_are_there_within_seconds(layout: Layout) {
    let began = Instant::now();
    let world = World::up(layout, 2).await;
    let nodes_up = began.elapsed();
    let names: Vec<_> = (0..10).map(|n| format!("pod-{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        world.shell(name, ["node-1", "node-2"][n % 2], "exec sleep 1000", json!(null));
    }
    for name in &names {
        world.ready(name).await;
    }
    println!("nodes {nodes_up:?}, with pods {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5));
    world.down().await;
}

pub(crate) async fn a_pod_of_the_mesh_waits_for_its_capture(layout: Layout) {
    let world = World::up(layout, 1).await;
    let meshed = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "default", "labels": {"istio-injection": "enabled"}}});
    world.store.put(heddle_api::object::Object::from_value(meshed).unwrap()).unwrap();
    world.shell("meshed", "node-1", "exec sleep 1000", json!(null));
    world.shell("host", "node-1", "exec sleep 1000", json!({"hostNetwork": true}));
    let host = world.ready("host").await;
    assert_eq!(host["status"]["podIP"], "172.30.0.11");
    let pod = world.until("meshed", "connected", |pod| pod["status"]["podIP"].is_string()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.pod("meshed").unwrap()["status"]["phase"], "Pending");
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let record = std::fs::read_to_string(world.layout.pod_record("node-1", uid)).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["ips"], json!(["10.244.1.2", "fd00:10:244:1::2"]));
    std::fs::write(world.layout.captured("node-1", uid), "{}").unwrap();
    world.ready("meshed").await;
    world.down().await;
}

pub(crate) async fn a_container_holds_no_mount_of_a_sandbox(layout: Layout) {
    let world = World::up(layout, 1).await;
    let keys = world.layout.node("node-1").join("keys");
    std::fs::create_dir_all(&keys).unwrap();
    nix::mount::mount(Some("t"), &keys, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
    world.shell("a", "node-1", "exec sleep 1000", json!(null));
    world.ready("a").await;
    let mounts = world.says("a", &["cat", "/proc/self/mounts"]).await;
    assert!(!mounts.contains(keys.to_str().unwrap()) && !mounts.contains("nsfs"), "{mounts}");
    assert!(mounts.contains("/etc/resolv.conf") && !mounts.contains("/.host"), "{mounts}");
    world.down().await;
}

pub(crate) async fn exec_passes_stdin_and_ends_with_the_container(layout: Layout) {
    let world = World::up(layout, 1).await;
    world.shell("a", "node-1", "exec sleep 1000", json!(null));
    let pod = world.ready("a").await;
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    let target = Target::Container { uid, container: "main".into() };
    let mut cat = container::exec(&world.layout, &target, &["cat"]).unwrap();
    let mut child = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.stdout, b"through");
    let mut sleeper = container::exec(&world.layout, &target, &["sleep", "1000"]).unwrap().spawn().unwrap();
    world.delete("a");
    world.until("a", "gone", Value::is_null).await;
    assert!(!sleeper.wait().unwrap().success());
    let late = container::exec(&world.layout, &target, &["true"]);
    assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::NotConnected);
    world.down().await;
}

pub(crate) async fn a_sidecar_starts_before_and_ends_after_the_others(layout: Layout) {
    let world = World::up(layout, 1).await;
    let say = |name: &str| {
        format!(
            "echo {name} up >> /log/l; trap 'echo {name} down >> /log/l; exit 0' TERM; while :; do sleep 0.02; done"
        )
    };
    let logs = json!([{"name": "log", "mountPath": "/log"}]);
    world.shell("both", "node-1", &say("main"), json!({
        "terminationGracePeriodSeconds": 5,
        "volumes": [{"name": "log", "hostPath": {"path": world.layout.root()}}],
        "initContainers": [{"name": "side", "image": "busybox", "restartPolicy": "Always", "volumeMounts": logs,
            "command": ["sh", "-c", say("side")],
            "startupProbe": {"exec": {"command": ["grep", "side", "/log/l"]}}}],
        "containers": [{"volumeMounts": logs}],
    }));
    world.ready("both").await;
    let log = world.layout.root().join("l");
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    let began = Instant::now();
    while logged().lines().count() < 2 && began.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.delete("both");
    world.until("both", "gone", Value::is_null).await;
    assert_eq!(logged(), "side up\nmain up\nmain down\nside down\n");
    world.down().await;
}
