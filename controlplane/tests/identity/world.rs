//! A cluster in the double, the controller in it by its own account and rights, and agents that have pods and tokens.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use heddle_apiserver::{Double, Setup, TokenSpec};
use heddle_controlplane::controller::Controller;
use heddle_controlplane::options::{Options, Registry};
use heddle_controlplane::registry::cluster::Pace;
use heddle_controlplane::rights;
use heddle_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use prost_types::{Struct, Value as WireValue, value};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Status;

use crate::harness;

pub const ROOTS: &str = "istio-ca-root-cert";
pub const HOME: &str = "heddle-system";

pub fn pace() -> Pace {
    Pace {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(100),
        confirm: Duration::from_millis(20),
        answer: Duration::from_secs(10),
        watch: 20,
        discovery: Duration::from_millis(300),
        overlap: Duration::from_millis(1500),
    }
}

pub struct World {
    pub double: Double,
    pub controller: Option<Controller>,
    folder: TempDir,
}

impl World {
    /// Everything as `heddle install` has it, two nodes with an agent each, and a namespace `ns` in the mesh.
    pub async fn start() -> Self {
        let mut world = Self::prepared().await;
        world.run().await;
        world.ready().await;
        world
    }

    /// The same without a controller.
    pub async fn prepared() -> Self {
        let double = Double::start(Setup { rbac: true, tls: true, ..Setup::default() }).await.unwrap();
        for name in [rights::ACCOUNT, "heddle-agent"] {
            account(&double, HOME, name);
        }
        for role in rights::roles() {
            double.put(role);
        }
        double.namespace("ns", &json!({"heddle.dev/mesh": "enabled"}));
        account(&double, "ns", "sa");
        for node in ["n1", "n2"] {
            double.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}));
            double.put(agent_pod(node));
        }
        Self { double, controller: None, folder: TempDir::new().unwrap() }
    }

    pub async fn run(&mut self) {
        let spec = TokenSpec {
            namespace: rights::NAMESPACE.to_owned(),
            account: rights::ACCOUNT.to_owned(),
            seconds: 86_400,
            ..TokenSpec::default()
        };
        let token = self.double.token(&spec).unwrap();
        let kubeconfig = self.folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, self.double.kubeconfig(&token)).unwrap();
        let options = Options {
            registry: Registry::Kubernetes,
            directory: None,
            kubeconfig: Some(kubeconfig),
            status_dir: None,
            listen: "127.0.0.1:0".parse().unwrap(),
            metrics_address: "127.0.0.1:0".parse().unwrap(),
            admin_socket: Some(self.folder.path().join("admin.sock")),
            ca_dir: None,
            root_out: None,
            tokens: None,
            token_audiences: vec!["heddle-ca".into()],
            trusted_accounts: vec!["heddle-system/heddle-agent".parse().unwrap()],
            trust_domain: "cluster.local".into(),
            cluster_domain: "cluster.local".into(),
            cert_ttl: Duration::from_secs(3600),
            max_cert_ttl: Duration::from_secs(7200),
            pod_cidrs: vec![],
            service_cidrs: vec![],
            log: "info".into(),
            pace: pace(),
        };
        self.controller = Some(Controller::start(options).await.unwrap());
    }

    pub async fn stop(&mut self) {
        self.controller.take().unwrap().stop().await;
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    pub async fn get(&self, path: &str) -> String {
        let address = self.controller.as_ref().unwrap().metrics;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    pub async fn ready(&self) {
        eventually("the controller is ready", async || self.get("/readyz").await.contains("200 OK")).await;
    }

    /// `/readyz` says this, with this code.
    pub async fn says(&self, code: &str, what: &str) {
        eventually(what, async || {
            let text = self.get("/readyz").await;
            text.contains(code) && text.contains(what)
        })
        .await;
    }

    pub async fn counted(&self, line: &str) -> bool {
        self.get("/metrics").await.lines().any(|said| said == line)
    }

    /// The roots that a namespace's ConfigMap says.
    pub fn roots(&self, namespace: &str) -> Option<String> {
        let object = self.double.get("configmaps", namespace, ROOTS)?;
        object["data"]["root-cert.pem"].as_str().map(str::to_owned)
    }

    pub fn secret(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, String>> {
        let object = self.double.get("secrets", namespace, name)?;
        serde_json::from_value(object["data"].clone()).ok()
    }

    /// The token that the kubelet of a node mounts into its agent.
    pub fn token(&self, node: &str) -> String {
        self.double.token(&agent(node)).unwrap()
    }

    pub fn channel(&self) -> tonic::transport::Channel {
        let address = self.controller.as_ref().unwrap().listen;
        harness::channel(address, self.roots(HOME).unwrap())
    }

    pub async fn certificate(
        &self,
        token: &str,
        request: IstioCertificateRequest,
    ) -> Result<IstioCertificateResponse, Status> {
        harness::certificate(self.channel(), token, request).await
    }

    /// A pod of `ns` that the controller knows.
    pub async fn pod(&self, object: Value) -> String {
        let kept = self.double.put(object);
        let uid = kept["metadata"]["uid"].as_str().unwrap().to_owned();
        self.settled().await;
        uid
    }

    /// Waits until the controller has seen what is stored.
    pub async fn settled(&self) {
        let newest =
            self.double.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "marker",
            "annotations": {"at": self.double.version().to_string()}}}));
        let newest: u64 = newest["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        eventually("what is stored has arrived", async || {
            let status: Value = self.admin("/status").await;
            status["resourceVersion"].as_u64().is_some_and(|seen| seen >= newest)
        })
        .await;
        // Kinds have watches of their own: give the others the same time.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }

    pub async fn admin(&self, path: &str) -> Value {
        let socket = self.folder.path().join("admin.sock");
        let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap_or_default()
    }
}

pub fn account(double: &Double, namespace: &str, name: &str) {
    double.put(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}));
}

/// As a projected token of the DaemonSet's pod on a node is.
pub fn agent(node: &str) -> TokenSpec {
    TokenSpec {
        namespace: HOME.to_owned(),
        account: "heddle-agent".to_owned(),
        audiences: vec!["heddle-ca".to_owned()],
        pod: format!("heddle-agent-{node}"),
        seconds: 3600,
    }
}

pub fn agent_pod(node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("heddle-agent-{node}"), "namespace": HOME, "labels": {"app": "heddle-agent"}},
        "spec": {"nodeName": node, "hostNetwork": true, "serviceAccountName": "heddle-agent", "containers": [{"name": "agent"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "192.0.2.1"}]}})
}

pub fn pod(name: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns", "labels": {"app": name}},
        "spec": {"nodeName": node, "serviceAccountName": "sa", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.244.1.2"}],
            "conditions": [{"type": "Ready", "status": "True"}]}})
}

pub fn csr() -> String {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

/// A good request for the certificate of a pod.
pub fn ask(uid: &str) -> IstioCertificateRequest {
    with("PodUID", uid, csr())
}

/// As a ztunnel asks.
pub fn impersonate(identity: &str) -> IstioCertificateRequest {
    with("ImpersonatedIdentity", identity, csr())
}

pub fn with(key: &str, text: &str, csr: String) -> IstioCertificateRequest {
    let text = WireValue { kind: Some(value::Kind::StringValue(text.into())) };
    let metadata = Struct { fields: BTreeMap::from([(key.to_owned(), text)]) };
    IstioCertificateRequest { csr, validity_duration: 600, metadata: Some(metadata) }
}

/// Tries until it holds, thirty seconds at most.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    for _ in 0..1500 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unreachable!("never: {what}");
}
