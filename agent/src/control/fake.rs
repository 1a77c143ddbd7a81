//! A controller in the test's own process: real TLS, real gRPC, scripted answers.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use heddle_proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use heddle_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use heddle_proto::istio::v1::auth::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use heddle_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData, SanType};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use x509_parser::prelude::FromDer;

use super::{Controller, Kind};

pub(crate) const CONTROLLER: &str = "spiffe://cluster.local/ns/heddle-system/sa/heddle-controller";

/// One discovery stream, as the server sees it.
pub(crate) struct Stream {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
}

/// How the certificate service behaves; changed while it runs.
pub(crate) struct Authority {
    pub(crate) fails: bool,
    pub(crate) ttl: Duration,
    pub(crate) identity: String,
    pub(crate) asked: Vec<String>,
    pub(crate) not_before: Option<SystemTime>,
}

pub(crate) struct Fake {
    pub(crate) controller: Controller,
    pub(crate) streams: mpsc::Receiver<Stream>,
    pub(crate) authority: Arc<Mutex<Authority>>,
    pub(crate) root_pem: String,
    pub(crate) directory: tempfile::TempDir,
}

struct Pki {
    root_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Fake {
    /// Starts one whose certificate says `identity`.
    pub(crate) async fn start(identity: &str) -> Self {
        let pki = Arc::new(Pki::new());
        let root_pem = pki.root_pem.clone();
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::write(directory.path().join("root.pem"), &root_pem).unwrap();
        std::fs::write(directory.path().join("token"), "secret\n").unwrap();
        let (opened, streams) = mpsc::channel(4);
        let authority = Arc::new(Mutex::new(Authority {
            fails: false,
            ttl: Duration::from_secs(3600),
            identity: "spiffe://cluster.local/ns/default/sa/app".to_owned(),
            asked: Vec::new(),
            not_before: None,
        }));
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let behind = plain.local_addr().unwrap();
        let issuing = Issuing { pki: Arc::clone(&pki), authority: Arc::clone(&authority) };
        let server = tonic::transport::Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(Discovery { opened }))
            .add_service(IstioCertificateServiceServer::new(issuing));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(plain)));
        let address = terminate_tls(&pki, identity, behind).await;
        let file = |name: &str| -> PathBuf { directory.path().join(name) };
        let controller = Controller {
            address,
            root_cert: file("root.pem"),
            trust_domain: "cluster.local".to_owned(),
            token_file: file("token"),
        };
        Self { controller, streams, authority, root_pem, directory }
    }

    pub(crate) async fn stream(&mut self) -> Stream {
        tokio::time::timeout(Duration::from_secs(10), self.streams.recv()).await.unwrap().unwrap()
    }
}

impl Stream {
    /// The next request.
    pub(crate) async fn request(&mut self) -> DeltaDiscoveryRequest {
        let next = tokio::time::timeout(Duration::from_secs(10), self.requests.message());
        next.await.expect("a request in time").unwrap().expect("an open stream")
    }

    /// The subscriptions, in order.
    pub(crate) async fn subscriptions(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let request = self.request().await;
            assert_eq!((request.type_url.as_str(), request.resource_names_subscribe.len()), (kind.url(), 1));
            all.push(request);
        }
        all
    }

    pub(crate) async fn silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(200), self.requests.message()).await.is_err()
    }

    pub(crate) async fn send(&mut self, kind: Kind, nonce: &str, resources: Vec<Resource>, removed: &[&str]) {
        let response = DeltaDiscoveryResponse {
            type_url: kind.url().to_owned(),
            nonce: nonce.to_owned(),
            resources,
            removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        self.responses.send(Ok(response)).await.unwrap();
    }
}

/// A resource with its name and version.
pub(crate) fn resource(kind: Kind, name: &str, version: &str, content: &impl Message) -> Resource {
    let any = prost_types::Any { type_url: kind.url().to_owned(), value: content.encode_to_vec() };
    Resource { name: name.to_owned(), version: version.to_owned(), resource: Some(any), aliases: Vec::new() }
}

impl Pki {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "root");
        let root_pem = params.self_signed(&key).unwrap().pem();
        Self { root_pem, issuer: Issuer::new(params, key) }
    }

    fn sign(
        &self,
        identity: &str,
        key: &impl PublicKeyData,
        (from, to): (SystemTime, SystemTime),
    ) -> rcgen::Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::URI(identity.try_into().unwrap()));
        (params.not_before, params.not_after) = (from.into(), to.into());
        params.signed_by(key, &self.issuer).unwrap()
    }
}

async fn terminate_tls(pki: &Pki, identity: &str, behind: std::net::SocketAddr) -> String {
    let key = KeyPair::generate().unwrap();
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let certificate = pki.sign(identity, &key, (now - hour, now + hour));
    let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(behind).await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

struct Discovery {
    opened: mpsc::Sender<Stream>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        if request.metadata().get("authorization").is_none_or(|value| value != "Bearer secret") {
            return Err(Status::unauthenticated("no such token"));
        }
        let (responses, outgoing) = mpsc::channel(64);
        let stream = Stream { requests: request.into_inner(), responses };
        self.opened.send(stream).await.map_err(|_gone| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

struct Issuing {
    pki: Arc<Pki>,
    authority: Arc<Mutex<Authority>>,
}

/// A public key out of a request.
struct Foreign(Vec<u8>);

impl PublicKeyData for Foreign {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Issuing {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let request = request.into_inner();
        let mut authority = self.authority.lock().unwrap();
        let uid = request.metadata.as_ref().and_then(|metadata| metadata.fields.get("PodUID")).unwrap();
        authority.asked.push(format!("{uid:?}"));
        if authority.fails {
            return Err(Status::unavailable("the test says no"));
        }
        let (_, pem) = x509_parser::pem::parse_x509_pem(request.csr.as_bytes()).unwrap();
        let (_, csr) =
            x509_parser::certification_request::X509CertificationRequest::from_der(&pem.contents).unwrap();
        let key = Foreign(csr.certification_request_info.subject_pki.subject_public_key.data.to_vec());
        let now = SystemTime::now();
        let from = authority.not_before.unwrap_or(now - authority.ttl);
        let leaf = self.pki.sign(&authority.identity, &key, (from, now + authority.ttl));
        let cert_chain = vec![leaf.pem(), self.pki.root_pem.clone()];
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}
