//! A double of the API server, and the controller or its registry over it.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "tests")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use heddle_api::normalised::Context;
use heddle_apiserver::{ADMIN, Double, Setup};
use heddle_controlplane::controller::Controller;
use heddle_controlplane::index::input::{Change, Input, Key};
use heddle_controlplane::options::{Options, Registry};
use heddle_controlplane::registry::cluster::{Cluster, Pace, connect};
use heddle_controlplane::registry::holdings::Holdings;
use heddle_controlplane::registry::shelf::Shelf;
use heddle_controlplane::registry::{Batch, ObjectId, decode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// As in a cluster, and quicker.
pub fn pace() -> Pace {
    Pace {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(100),
        confirm: Duration::from_millis(20),
        answer: Duration::from_secs(10),
        watch: 20,
        discovery: Duration::from_millis(300),
        overlap: Duration::from_millis(500),
    }
}

/// A registry over a double, and what its batches made of the world.
pub struct Watcher {
    pub double: Double,
    pub cluster: Cluster,
    pub stop: CancellationToken,
    batches: mpsc::Receiver<Batch>,
    pub inputs: BTreeMap<Key, Input>,
    pub removed: Vec<Key>,
    pub last: Batch,
    folder: TempDir,
}

impl Watcher {
    pub async fn start(double: Double) -> Self {
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("kubeconfig");
        std::fs::write(&config, double.kubeconfig(ADMIN)).unwrap();
        let client = connect(Some(&config)).await.unwrap();
        let holdings = Holdings::new(Context::default(), Shelf::default());
        let (sender, batches) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let cluster = Cluster::spawn(&client, holdings, pace(), sender, stop.clone());
        let (inputs, removed) = (BTreeMap::new(), Vec::new());
        Self { double, cluster, stop, batches, inputs, removed, last: Batch::default(), folder }
    }

    /// Takes batches for as long as they come at once.
    pub async fn drain(&mut self, patience: Duration) {
        while let Ok(Some(batch)) = tokio::time::timeout(patience, self.batches.recv()).await {
            self.apply(batch);
        }
    }

    fn apply(&mut self, mut batch: Batch) {
        for change in batch.changes.drain(..) {
            match change {
                Change::Put(key, input) => drop(self.inputs.insert(key, input)),
                Change::Remove(key) => {
                    self.inputs.remove(&key);
                    self.removed.push(key);
                }
            }
        }
        self.last = batch;
    }

    /// Takes batches until it holds.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while !holds(self) {
            match tokio::time::timeout_at(deadline, self.batches.recv()).await {
                Ok(Some(batch)) => self.apply(batch),
                _ => unreachable!("never: {what}; waiting for {:?}", self.cluster.waiting()),
            }
        }
    }

    /// What the index would have if it read the double's store itself.
    pub fn truth(&self) -> BTreeMap<Key, Input> {
        let context = Context::default();
        let resources = [
            "namespaces",
            "nodes",
            "pods",
            "services",
            "serviceaccounts",
            "configmaps",
            "secrets",
            "endpointslices.discovery.k8s.io",
            "servicecidrs.networking.k8s.io",
            "virtualservices.networking.istio.io",
            "authorizationpolicies.security.istio.io",
            "peerauthentications.security.istio.io",
            "httproutes.gateway.networking.k8s.io",
        ];
        let objects = resources.iter().flat_map(|resource| self.double.list(resource));
        let objects = objects.filter_map(|value| heddle_api::object::Object::from_value(value).ok());
        objects.filter_map(|mut object| decode::decode(&mut object, &context).input).collect()
    }
}

/// A controller over a double.
pub struct Whole {
    pub double: Double,
    pub controller: Controller,
    folder: TempDir,
}

impl Whole {
    /// Who brings `token` runs it.
    pub async fn start(setup: Setup, prepare: impl FnOnce(&Double) -> String) -> Self {
        let double = Double::start(setup).await.unwrap();
        let folder = TempDir::new().unwrap();
        let token = prepare(&double);
        std::fs::write(folder.path().join("kubeconfig"), double.kubeconfig(&token)).unwrap();
        let controller = Controller::start(options(&folder)).await.unwrap();
        Self { double, controller, folder }
    }

    pub async fn get(&self, path: &str) -> String {
        http(self.controller.metrics, path).await
    }

    pub async fn ready(&self) {
        super::eventually("the controller is ready", async || self.get("/readyz").await.contains("200 OK"))
            .await;
    }

    pub fn admin(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    pub fn status(&self, resource: &str, name: &str) -> Value {
        self.double.get(resource, "ns", name).map(|object| object["status"].clone()).unwrap_or_default()
    }
}

async fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn options(folder: &TempDir) -> Options {
    let path = |name: &str| folder.path().join(name);
    Options {
        registry: Registry::Kubernetes,
        directory: None,
        kubeconfig: Some(path("kubeconfig")),
        status_dir: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        metrics_address: "127.0.0.1:0".parse().unwrap(),
        admin_socket: Some(path("admin.sock")),
        ca_dir: Some(path("ca")),
        root_out: None,
        tokens: None,
        token_audiences: vec!["heddle-ca".into()],
        trusted_accounts: vec!["heddle-system/heddle-agent".parse().unwrap()],
        trust_domain: "cluster.local".into(),
        cluster_domain: "cluster.local".into(),
        cert_ttl: Duration::from_secs(3600),
        max_cert_ttl: Duration::from_secs(3600),
        pod_cidrs: vec![],
        service_cidrs: vec![],
        log: "info".into(),
        pace: pace(),
    }
}

pub fn id(resource: &str, name: &str) -> ObjectId {
    ObjectId { directory: resource.into(), namespace: "ns".into(), name: name.into() }
}

pub fn pod(name: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns", "labels": {"app": name}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}]}})
}

pub fn virtual_service(name: &str, host: &str) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name, "namespace": "ns"},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]}})
}
