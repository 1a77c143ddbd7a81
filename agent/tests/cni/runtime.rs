//! A container runtime that calls the plugin, and the agent's server for it to ask.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use heddle_agent::cni::{self, Metrics, Records, Server, Views};
use heddle_agent::control::ControlStatus;
use heddle_agent::datapath::{Applied, Captured};
use heddle_agent::node::NodeRoots;
use heddle_cni::invocation::Environment;
use heddle_cni::plugin::{self, Output};
use heddle_core::identity::Identity;
use heddle_core::names::{NodeName, PodUid, WorkloadUid};
use heddle_core::snapshot::Snapshot;
use heddle_core::store::MeshFacts;
use heddle_core::workload::{Tunnel, Workload};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::lab::{Lab, Site};

const SOON: Duration = Duration::from_secs(60);

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < SOON, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What the server looks at, and the server while it runs.
pub(crate) struct Node {
    folder: PathBuf,
    captured: watch::Receiver<Arc<Captured>>,
    status: watch::Sender<ControlStatus>,
    metrics: Metrics,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Node {
    /// With a server, in the calling thread's namespaces.
    pub(crate) fn new(lab: &Lab) -> Self {
        let folder = lab.folder.path().to_owned();
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        let captured = watch::channel(Arc::default()).1;
        let (status, _) = watch::channel(ControlStatus::default());
        Self { folder, captured, status, metrics, runtime: None }.started(lab)
    }

    pub(crate) fn started(mut self, lab: &Lab) -> Self {
        let agent = lab.agent.as_ref().unwrap();
        let (captured, applied): (_, watch::Receiver<Applied>) =
            (agent.handle.captured.clone(), agent.handle.applied.clone());
        let snapshots: watch::Receiver<Arc<Snapshot>> = lab.snapshots.subscribe();
        let views = Views {
            snapshots: snapshots.clone(),
            status: self.status.subscribe(),
            captured: captured.clone(),
            applied,
        };
        let records = Records::new(self.folder.join("pods"));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let listening = cni::listen(&self.socket()).unwrap();
        let (roots, metrics) = (NodeRoots::default(), self.metrics.clone());
        runtime.spawn(cni::keep(
            self.folder.join("cni"),
            records.clone(),
            roots.clone(),
            snapshots,
            metrics.clone(),
        ));
        runtime.spawn(Server { views, records, roots, metrics }.serve(listening));
        drop(_inside);
        (self.captured, self.runtime) = (captured, Some(runtime));
        self
    }

    /// The agent's socket is left, and nobody listens.
    pub(crate) fn stopped(mut self) -> Self {
        self.runtime = None;
        self
    }

    pub(crate) fn connected(&self, connected: bool) {
        self.status.send_modify(|status| status.connected = connected);
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("cni.sock")
    }

    pub(crate) fn namespaces_file(&self) -> PathBuf {
        self.folder.join("cni/namespaces.json")
    }

    pub(crate) fn is_captured(&self, site: &Site) -> bool {
        self.captured.borrow().contains_key(&site.uid)
    }

    pub(crate) fn count(&self, command: &str, answer: &str) -> u64 {
        self.metrics.counted(command, answer)
    }

    pub(crate) fn records(&self) -> usize {
        let names =
            std::fs::read_dir(self.folder.join("pods")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".json")).count()
    }

    /// A call for a pod, as it should be.
    pub(crate) fn call(&self, command: &str, container: &str, site: &Site) -> Call {
        Call {
            command: command.to_owned(),
            container: container.to_owned(),
            netns: site.path(),
            ips: vec![site.v4.to_string(), site.v6.to_string()],
            namespace: "test".to_owned(),
            name: site.uid.to_string(),
            uid: site.uid.clone(),
            config: json!({
                "cniVersion": "1.1.0", "name": "net", "type": "heddle-cni", "socket": self.socket(),
                "namespacesFile": self.namespaces_file(),
            }),
        }
    }

    pub(crate) fn gc(&self, containers: &[&str]) -> Value {
        let valid: Vec<Value> =
            containers.iter().map(|id| json!({"containerID": id, "ifname": "eth0"})).collect();
        let config = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "heddle-cni", "socket": self.socket(),
            "namespacesFile": self.namespaces_file(), "cni.dev/valid-attachments": valid,
        });
        let environment = Environment::new([("CNI_COMMAND".to_owned(), "GC".to_owned())]);
        printed(plugin::run(&environment, config.to_string().as_bytes()))
    }

    /// Asks as a plugin does, and goes away after `meanwhile` without waiting for the answer.
    pub(crate) fn ask_and_leave(
        &self,
        command: &str,
        container: &str,
        site: &Site,
        meanwhile: impl FnOnce(),
    ) {
        use std::io::Write;
        let question = json!({
            "command": command, "containerId": container, "ifname": "eth0", "netns": site.path(), "namespace": "test",
            "name": site.uid.as_str(), "uid": site.uid.as_str(), "ips": [site.v4, site.v6], "excluded": false,
        });
        let mut stream = std::os::unix::net::UnixStream::connect(self.socket()).unwrap();
        writeln!(stream, "{question}").unwrap();
        meanwhile();
    }
}

/// One call of the plugin.
pub(crate) struct Call {
    command: String,
    container: String,
    netns: String,
    ips: Vec<String>,
    namespace: String,
    name: String,
    uid: PodUid,
    config: Value,
}

impl Call {
    pub(crate) fn netns(mut self, path: &str) -> Self {
        self.netns = path.to_owned();
        self
    }

    pub(crate) fn ips(mut self, ips: &[&str]) -> Self {
        self.ips = ips.iter().map(|ip| (*ip).to_owned()).collect();
        self
    }

    pub(crate) fn named(mut self, namespace: &str, name: &str) -> Self {
        (self.namespace, self.name) = (namespace.to_owned(), name.to_owned());
        if namespace != "test" {
            self.uid = PodUid::new("11111111-0000-4000-8000-000000000000");
        }
        self
    }

    /// What it prints: an object, or nothing.
    pub(crate) fn run(&self) -> Value {
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID={}",
            self.namespace, self.name, self.uid
        );
        let variables = [
            ("CNI_COMMAND", self.command.as_str()),
            ("CNI_CONTAINERID", &self.container),
            ("CNI_NETNS", &self.netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", &args),
        ];
        let environment =
            Environment::new(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let with_length =
            |ip: &String| json!({"address": format!("{ip}/{}", if ip.contains(':') { 64 } else { 24 })});
        let mut config = self.config.clone();
        config["prevResult"] = json!({"ips": self.ips.iter().map(with_length).collect::<Vec<_>>()});
        printed(plugin::run(&environment, config.to_string().as_bytes()))
    }

    /// On a thread of its own.
    pub(crate) fn start(self) -> JoinHandle<Value> {
        thread::spawn(move || self.run())
    }
}

fn printed(output: Output) -> Value {
    match output {
        Output::Nothing => json!(""),
        Output::Result(value) | Output::Error(value) => value,
    }
}

impl Lab {
    /// A configuration, as it is.
    pub(crate) fn publish(&mut self) {
        let snapshot = self.store.publish();
        let generation = snapshot.generation();
        self.snapshots.send_replace(snapshot);
        self.applied(generation);
    }

    pub(crate) fn enrol_namespaces(&mut self, names: &[&str]) {
        let enrolled_namespaces = names.iter().map(|name| (*name).to_owned()).collect();
        self.store.set_mesh(MeshFacts { enrolled_namespaces, ..MeshFacts::default() });
        self.publish();
    }

    /// The pod is deleted.
    pub(crate) fn forget(&mut self, site: &Site) {
        self.store.remove_local(&site.uid);
        self.publish();
    }

    /// The controller says which addresses the pod has.
    pub(crate) fn announce(&mut self, site: &Site) {
        self.store.put_workload(Workload {
            uid: WorkloadUid::new(format!("Kubernetes//Pod/test/{}", site.uid)),
            name: site.uid.as_str().into(),
            identity: Identity::new("cluster.local", "test", "default").unwrap(),
            addresses: [site.v4, site.v6].into(),
            tunnel: Tunnel::Hbone,
            plaintext_ports: Box::default(),
            node: NodeName::new("node-1"),
            canonical_name: "x".into(),
            canonical_revision: "v1".into(),
            workload_name: "x".into(),
            services: Box::default(),
            policies: Box::default(),
            healthy: true,
            host_network: false,
            labels: Default::default(),
            locality: Default::default(),
            weight: 1,
        });
        self.publish();
    }
}
