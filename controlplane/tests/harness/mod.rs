//! A controller over a directory of its own, and agents that speak its protocols over TLS.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use heddle_controlplane::controller::Controller;
use heddle_controlplane::options::{Options, Registry};
use heddle_proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use heddle_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Status as Detail};
use heddle_proto::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use heddle_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use hyper_util::rt::TokioIo;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

pub mod tls;

/// A world on disk, and the controller that serves it.
pub struct World {
    pub folder: TempDir,
    pub controller: Option<Controller>,
    version: u64,
}

impl World {
    /// Two nodes with a token each, and a controller.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("objects")).unwrap();
        let mut world = Self { folder, controller: None, version: 0 };
        world.tokens(&["node-1", "node-2"]);
        world.restart().await;
        world
    }

    pub async fn restart(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.stop().await;
        }
        self.controller = Some(Controller::start(self.options()).await.unwrap());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self) -> Options {
        Options {
            registry: Registry::Directory,
            directory: Some(self.path("objects")),
            kubeconfig: None,
            status_dir: Some(self.path("status")),
            listen: "127.0.0.1:0".parse().unwrap(),
            metrics_address: "127.0.0.1:0".parse().unwrap(),
            admin_socket: Some(self.path("admin.sock")),
            ca_dir: Some(self.path("ca")),
            root_out: Some(self.path("root.pem")),
            tokens: Some(self.path("tokens.json")),
            token_audiences: vec![],
            trusted_accounts: vec![],
            trust_domain: "cluster.local".into(),
            cluster_domain: "cluster.local".into(),
            cert_ttl: Duration::from_secs(3600),
            max_cert_ttl: Duration::from_secs(7200),
            pod_cidrs: vec!["10.244.0.0/16".into()],
            service_cidrs: vec!["10.96.0.0/16".into()],
            log: "info".into(),
            pace: Default::default(),
        }
    }

    /// The token of a node is `secret of <node>`.
    pub fn tokens(&self, nodes: &[&str]) {
        let entries: HashMap<String, &str> = nodes.iter().map(|node| (hash(&secret(node)), *node)).collect();
        let path = self.path("tokens.json");
        std::fs::write(path.with_extension("new"), serde_json::to_vec(&entries).unwrap()).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    }

    /// Stores an object as the sandbox does. Gives back its version.
    pub fn put(&mut self, mut object: Value) -> u64 {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let kind = heddle_api::object::Object::from_value(object.clone()).unwrap();
        let path = self.object(&kind.kind.directory(), kind.namespace.as_deref(), &kind.name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let temporary = path.with_file_name(format!(".{}.json", kind.name));
        std::fs::write(&temporary, object.to_string()).unwrap();
        std::fs::rename(temporary, path).unwrap();
        self.version
    }

    pub fn object(&self, directory: &str, namespace: Option<&str>, name: &str) -> PathBuf {
        self.path("objects").join(directory).join(namespace.unwrap_or("_")).join(format!("{name}.json"))
    }

    pub fn remove(&self, directory: &str, namespace: Option<&str>, name: &str) {
        std::fs::remove_file(self.object(directory, namespace, name)).unwrap();
    }

    pub fn namespace(&mut self, name: &str, labels: &Value) {
        self.put(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        );
    }

    pub fn pod(&mut self, name: &str, node: &str, ip: &str) {
        self.put(pod(name, node, ip));
    }

    pub async fn status(&self) -> Value {
        let mut stream = UnixStream::connect(self.path("admin.sock")).await.unwrap();
        let request = "GET /status HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    pub async fn metrics(&self) -> String {
        let address = self.controller.as_ref().unwrap().metrics;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    pub fn condition(&self, directory: &str, namespace: &str, name: &str) -> Option<Value> {
        let path = self.path("status").join(directory).join(namespace).join(format!("{name}.json"));
        let body: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        Some(body["conditions"][0].clone())
    }

    pub fn channel(&self) -> Channel {
        let address = self.controller.as_ref().unwrap().listen;
        channel(address, std::fs::read_to_string(self.path("root.pem")).unwrap())
    }

    /// An agent that subscribes to everything, as holding what `held` says.
    pub async fn agent(&self, node: &str, held: &Held) -> Result<Agent, Status> {
        Agent::open(self.channel(), node, &secret(node), held).await
    }

    pub async fn certificate(
        &self,
        token: &str,
        request: IstioCertificateRequest,
    ) -> Result<IstioCertificateResponse, Status> {
        certificate(self.channel(), token, request).await
    }
}

/// A channel to a controller whose certificate one of these roots vouches for.
pub fn channel(address: SocketAddr, root: String) -> Channel {
    let connector = tower::service_fn(move |_| {
        let root = root.clone();
        async move {
            let tcp = TcpStream::connect(address).await?;
            let tls = tokio_rustls::TlsConnector::from(tls::client());
            let name = "heddle-controller".try_into().unwrap();
            let stream = tls.connect(name, tcp).await?;
            tls::check(stream.get_ref().1.peer_certificates().unwrap(), &root);
            std::io::Result::Ok(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://controller").connect_with_connector_lazy(connector)
}

/// Asks for a certificate; an empty token is none.
pub async fn certificate(
    channel: Channel,
    token: &str,
    request: IstioCertificateRequest,
) -> Result<IstioCertificateResponse, Status> {
    let mut request = Request::new(request);
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let mut client = IstioCertificateServiceClient::new(channel);
    Ok(client.create_certificate(request).await?.into_inner())
}

/// What an agent holds: by type URL, name to version.
pub type Held = BTreeMap<String, BTreeMap<String, String>>;

pub struct Agent {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    pub held: Held,
}

impl Agent {
    pub async fn open(channel: Channel, node: &str, token: &str, held: &Held) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(16);
        for url in urls() {
            let versions = held.get(url).cloned().unwrap_or_default();
            let request = DeltaDiscoveryRequest {
                node: Some(Node { id: node.into(), ..Node::default() }),
                type_url: url.into(),
                resource_names_subscribe: vec!["*".into()],
                initial_resource_versions: versions.into_iter().collect(),
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(request).await.unwrap();
        }
        let mut request = Request::new(ReceiverStream::new(outgoing));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses = client.delta_aggregated_resources(request).await?.into_inner();
        Ok(Self { requests, responses, held: held.clone() })
    }

    /// An agent that says that it is one node, with a token that says something else.
    pub async fn open_as(channel: Channel, node: &str, token: &str) -> Result<Self, Status> {
        Self::open(channel, node, token, &Held::new()).await
    }

    /// The next response, not answered.
    pub async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        self.next_within(Duration::from_secs(10)).await
    }

    /// The same, for what takes its time.
    pub async fn next_within(&mut self, patience: Duration) -> Result<DeltaDiscoveryResponse, Status> {
        let message = tokio::time::timeout(patience, self.responses.message());
        message.await.expect("a response in time")?.ok_or_else(|| Status::unavailable("ended"))
    }

    /// The next response, which is of mesh-wide facts, is applied: the namespaces in it.
    pub async fn mesh(&mut self) -> Vec<String> {
        let response = self.next().await.unwrap();
        assert_eq!(response.type_url, heddle_proto::type_url::MESH);
        self.ack(&response).await;
        let any = response.resources[0].resource.as_ref().unwrap();
        heddle_proto::heddle::v1::Mesh::decode(any.value.as_ref()).unwrap().enrolled_namespaces
    }

    /// Whether nothing comes for a while.
    pub async fn silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(400), self.responses.message()).await.is_err()
    }

    pub async fn ack(&mut self, response: &DeltaDiscoveryResponse) {
        let held = self.held.entry(response.type_url.clone()).or_default();
        for name in &response.removed_resources {
            held.remove(name);
        }
        for resource in &response.resources {
            held.insert(resource.name.clone(), resource.version.clone());
        }
        self.answer(response, None).await;
    }

    pub async fn nack(&mut self, response: &DeltaDiscoveryResponse, code: i32, message: &str) {
        self.answer(response, Some(Detail { code, message: message.into(), details: vec![] })).await;
    }

    async fn answer(&mut self, response: &DeltaDiscoveryResponse, error_detail: Option<Detail>) {
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail,
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// Takes everything until there was a response of every type.
    pub async fn settle(&mut self) -> Vec<DeltaDiscoveryResponse> {
        let mut all = Vec::new();
        while urls().iter().any(|url| !all.iter().any(|r: &DeltaDiscoveryResponse| r.type_url == *url)) {
            let response = self.next().await.unwrap();
            self.ack(&response).await;
            all.push(response);
        }
        all
    }
}

pub fn urls() -> [&'static str; 5] {
    use heddle_proto::type_url::{ADDRESS, AUTHORIZATION, LOCAL_WORKLOAD, MESH, TRAFFIC};
    [MESH, AUTHORIZATION, TRAFFIC, ADDRESS, LOCAL_WORKLOAD]
}

pub fn pod(name: &str, node: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "labels": {"app": name}},
        "spec": {"nodeName": node, "serviceAccountName": "sa", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}]}})
}

pub fn secret(node: &str) -> String {
    format!("secret of {node}")
}

fn hash(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tries until it holds, ten seconds at most.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..500 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unreachable!("never: {what}");
}
