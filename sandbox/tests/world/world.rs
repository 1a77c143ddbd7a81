//! A sandbox's nodes with their kubelets, DNS and proxies, over a store in memory.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use heddle_api::kind;
use heddle_api::object::Object;
use heddle_sandbox::container::{self, Target};
use heddle_sandbox::dns::{self, Dns};
use heddle_sandbox::fabric::{Fabric, Layout};
use heddle_sandbox::images::ImageMap;
use heddle_sandbox::kubelet::{Images, Kubelet};
use heddle_sandbox::proxy::{self, Proxy};
use heddle_sandbox::store::Store;
use heddle_sandbox::workloads;
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) struct World {
    pub(crate) layout: Layout,
    pub(crate) fabric: Fabric,
    pub(crate) store: Store,
    kubelets: Vec<Kubelet>,
    services: (Vec<Proxy>, Vec<Dns>, JoinSet<()>),
}

impl World {
    pub(crate) async fn up(layout: Layout, nodes: u8) -> Self {
        heddle_sandbox::cleanup::cleanup(layout.name()).unwrap();
        std::fs::create_dir_all(layout.objects()).unwrap();
        let store = Store::open(&layout.objects()).unwrap();
        let fabric = Fabric::create(&layout, nodes).await.unwrap();
        let images: Images =
            Arc::new(|image: &str| ImageMap::default().resolve(image).map_err(|error| error.to_string()));
        let spawn = |node: &Arc<_>| {
            Kubelet::spawn(Arc::clone(node), layout.clone(), store.clone(), images.clone()).unwrap()
        };
        let kubelets = fabric.nodes().iter().map(spawn).collect();
        let (mut proxies, mut names, mut controllers) = (Vec::new(), Vec::new(), JoinSet::new());
        for node in fabric.nodes() {
            proxies.push(proxy::spawn(node.clone(), store.clone()));
            names.push(dns::spawn(node, store.clone()).await.unwrap());
        }
        controllers.spawn(workloads::run(store.clone()));
        Self { layout, fabric, store, kubelets, services: (proxies, names, controllers) }
    }

    /// A pod of one shell container, bound to a node.
    pub(crate) fn shell(&self, name: &str, node: &str, script: &str, more: Value) {
        self.shell_labelled(name, node, script, more, &json!({"app": name}));
    }

    pub(crate) fn shell_labelled(&self, name: &str, node: &str, script: &str, more: Value, labels: &Value) {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1,
                     "containers": [{"name": "main", "image": "busybox", "command": ["sh", "-c", script]}]},
        });
        merge(&mut pod["spec"], more);
        self.create(pod);
    }

    pub(crate) fn create(&self, value: Value) {
        self.store.create(Object::from_value(value).unwrap()).unwrap();
    }

    pub(crate) fn pod(&self, name: &str) -> Option<Value> {
        let kind = kind::find("v1", "Pod").unwrap();
        self.store.get(kind, Some("default"), name).map(|object| object.value.clone())
    }

    pub(crate) fn delete(&self, name: &str) {
        self.store.delete(kind::find("v1", "Pod").unwrap(), Some("default"), name).unwrap();
    }

    /// Waits until `holds` of the pod (Null once it is gone).
    pub(crate) async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut changes = self.store.changed();
        let wait = async {
            loop {
                changes.mark_unchanged();
                let pod = self.pod(name).unwrap_or_default();
                if holds(&pod) {
                    return pod;
                }
                changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), wait).await {
            Ok(pod) => pod,
            Err(_) => panic!("{name} not {what}: {:#}", self.pod(name).unwrap_or_default()["status"]),
        }
    }

    pub(crate) async fn ready(&self, name: &str) -> Value {
        self.until(name, "ready", |pod| condition(pod, "Ready") == "True").await
    }

    pub(crate) async fn exec(&self, pod: &str, argv: &[&str]) -> Output {
        let uid = self.pod(pod).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
        let target = Target::Container { uid, container: "main".into() };
        let command = container::exec(&self.layout, &target, argv).unwrap();
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).kill_on_drop(true);
        tokio::time::timeout(Duration::from_secs(10), command.output()).await.unwrap().unwrap()
    }

    pub(crate) async fn on_node(&self, node: &str, argv: &[&str]) -> Output {
        let node = self.fabric.node(node).unwrap();
        let (name, cgroup) = (node.name().to_owned(), node.cgroup().path().to_owned());
        let target = Target::Node { name, pid: node.pid(), cgroup };
        let command = container::exec(&self.layout, &target, argv).unwrap();
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
    }

    /// The URL of a Service's first address, for those who have no resolver.
    pub(crate) fn url(&self, service: &str) -> String {
        let kind = kind::find("v1", "Service").unwrap();
        let service = self.store.get(kind, Some("default"), service).unwrap();
        format!("http://{}/name", service.value["spec"]["clusterIP"].as_str().unwrap())
    }

    /// The output of a command that must succeed within a few attempts: routes and rules follow the status.
    pub(crate) async fn says(&self, pod: &str, argv: &[&str]) -> String {
        for _ in 0..20 {
            let output = self.exec(pod, argv).await;
            if output.status.success() {
                return String::from_utf8(output.stdout).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{pod}: {argv:?}: {:?}", self.exec(pod, argv).await)
    }

    pub(crate) async fn down(self) {
        drop(self.services);
        for kubelet in self.kubelets {
            kubelet.stop().await;
        }
        self.fabric.destroy().await.unwrap();
        heddle_sandbox::cleanup::cleanup(self.layout.name()).unwrap();
        nothing_is_left(&self.layout);
    }
}

/// No process, no cgroup, no mount, no file of the sandbox.
pub(crate) fn nothing_is_left(layout: &Layout) {
    assert!(!layout.root().exists());
    let cgroups = heddle_sandbox::cgroup::Cgroup::root().unwrap();
    assert!(!cgroups.child(&layout.cgroup_name()).path().exists());
    assert!(!std::fs::read_to_string("/proc/mounts").unwrap().contains(layout.name()));
    // A container that was being started when its kubelet stopped finds nothing, and ends by itself.
    let deadline = std::time::Instant::now() + Duration::from_secs(3);
    while let Some(line) = process_of(layout) {
        assert!(std::time::Instant::now() < deadline, "still there: {line}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn process_of(layout: &Layout) -> Option<String> {
    let own = format!("{}/", layout.name());
    let lines = std::fs::read_dir("/proc").unwrap().flatten().map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).into_owned()
    });
    lines.into_iter().find(|line| line.contains(&own))
}

pub(crate) fn condition(pod: &Value, kind: &str) -> String {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("absent").to_owned()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) if into.len() == from.len() => {
            into.iter_mut().zip(from).for_each(|(into, from)| merge(into, from));
        }
        (_, Value::Null) => {}
        (into, from) => *into = from,
    }
}
