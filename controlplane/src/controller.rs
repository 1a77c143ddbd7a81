//! The composition root: makes every part, connects them, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heddle_api::normalised::Context;
use heddle_core::identity::Identity;
use heddle_proto::discovery::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use heddle_proto::istio::v1::auth::istio_certificate_service_server::IstioCertificateServiceServer;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::admin::Admin;
use crate::analysis::Analyst;
use crate::auth::Callers;
use crate::ca::root;
use crate::ca::trust::LatestTrust;
use crate::ca::{service::Authority, serving};
use crate::engine::{Channels, Engine};
use crate::environment::{Ends, Environment};
use crate::index::{Index, Settings};
use crate::limit::Limiter;
use crate::listener;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::published::Latest;
use crate::readiness::Readiness;
use crate::registry::cluster;
use crate::registry::holdings::Holdings;
use crate::registry::shelf::Shelf;
use crate::xds::agents::{AgentEvent, Agents};
use crate::xds::service::Discovery;

/// How many certificates a node may ask for at once, and each second.
const CERTIFICATES: (u32, u32) = (500, 50);
/// How long streams have to end.
const DRAIN: Duration = Duration::from_secs(5);
/// An `initial_resource_versions` of 100,000 names fits.
const REQUEST_BYTES: usize = 32 << 20;

/// Why the controller cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The root.
    #[error(transparent)]
    Root(#[from] root::RootError),
    /// Its own certificate.
    #[error(transparent)]
    Serving(#[from] serving::ServingError),
    /// The trust domain.
    #[error("--trust-domain: {0}")]
    TrustDomain(#[from] heddle_core::identity::IdentityError),
    /// A file, an address or a socket.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// The way to the API server.
    #[error(transparent)]
    Connect(#[from] cluster::ConnectError),
    /// Metrics.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// A running controller.
#[derive(Debug)]
pub struct Controller {
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Where metrics are served.
    pub metrics: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Controller {
    /// Starts everything; returns once addresses are bound.
    ///
    /// # Errors
    /// The root, a file, an address or a socket cannot be used.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let (metrics, readiness) = (Arc::new(Metrics::new()?), Readiness::default());
        let (published, latest) = watch::channel(None);
        let (agents, agents_seen) = watch::channel(Arc::new(Agents::default()));
        let (event_sender, events) = mpsc::channel(1024);
        let (batch_sender, batches) = mpsc::channel(4);
        let (verdicts, verdicts_seen) = mpsc::channel(16);

        let shelf = Shelf::default();
        let ends = Ends {
            holdings: Holdings::new(context(&options), shelf.clone()),
            batches: batch_sender,
            verdicts: verdicts_seen,
            published: latest.clone(),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            stop: stop.clone(),
        };
        let Environment { registry, callers, trust } = Environment::open(&options, ends).await?;
        let engine = Engine::new(Index::new(settings(&options)), metrics.clone());
        let analyst = Analyst::spawn(shelf).map_err(at("analysis"))?;
        let channels =
            Channels { batches, events, published, agents, verdicts, analyst, trust: trust.clone() };
        tokio::spawn(engine.run(channels, stop.clone()));

        let admin = Admin {
            published: latest.clone(),
            agents: agents_seen,
            callers: callers.clone(),
            registry,
            readiness,
            metrics: metrics.clone(),
        };
        if let Some(path) = &options.admin_socket {
            admin.clone().serve_socket(path, stop.clone()).map_err(at(path.display()))?;
        }
        let metrics_address = admin
            .serve_metrics(options.metrics_address, stop.clone())
            .await
            .map_err(at(options.metrics_address))?;

        let identity = Identity::new(&options.trust_domain, "heddle-system", "heddle-controller")?;
        let tls = serving::server_config(trust.clone(), identity)?;
        let who = (callers.clone(), latest.clone(), trust);
        let authority = authority(&options, who, metrics.clone(), event_sender.clone());
        let discovery = Discovery {
            callers,
            published: latest,
            events: event_sender,
            metrics,
            stop: stop.clone(),
            streams: Arc::new(AtomicU64::new(0)),
        };
        let listener = bind(options.listen).map_err(at(options.listen))?;
        let listen = listener.local_addr().map_err(at(options.listen))?;
        let incoming = listener::accept(listener, tls, stop.clone());
        let server = tokio::spawn(serve(incoming, discovery, authority, stop.clone()));
        tracing::info!(%listen, metrics = %metrics_address, registry = ?options.registry, "serving");
        Ok(Self { listen, metrics: metrics_address, stop, server })
    }

    /// Ends streams, tells agents so, and returns when all is closed or the drain time is over.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(DRAIN, self.server).await.is_err() {
            tracing::warn!("streams did not end in time");
        }
    }
}

fn authority(
    options: &Options,
    (callers, published, trust): (Arc<Callers>, Latest, LatestTrust),
    metrics: Arc<Metrics>,
    events: mpsc::Sender<AgentEvent>,
) -> Authority {
    let (burst, per_second) = CERTIFICATES;
    Authority {
        callers,
        published,
        trust,
        trust_domain: options.trust_domain.as_str().into(),
        ttl: options.cert_ttl,
        max_ttl: options.max_cert_ttl,
        limiter: Arc::new(Mutex::new(Limiter::new(burst, per_second))),
        metrics,
        events,
    }
}

async fn serve(
    incoming: tokio_stream::wrappers::ReceiverStream<io::Result<listener::Connection>>,
    discovery: Discovery,
    authority: Authority,
    stop: CancellationToken,
) {
    let discovery = AggregatedDiscoveryServiceServer::new(discovery).max_decoding_message_size(REQUEST_BYTES);
    let authority = IstioCertificateServiceServer::new(authority).max_decoding_message_size(64 << 10);
    let served = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_concurrent_streams(Some(256))
        .add_service(discovery)
        .add_service(authority)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "gRPC server ended");
    }
}

fn settings(options: &Options) -> Settings {
    Settings {
        trust_domain: options.trust_domain.clone(),
        cluster_domain: options.cluster_domain.clone(),
        cluster_id: "Kubernetes".to_owned(),
        pod_cidrs: options.pod_cidrs.clone(),
        service_cidrs: options.service_cidrs.clone(),
        trust_bundle: Vec::new(),
    }
}

fn context(options: &Options) -> Context {
    Context {
        cluster_domain: options.cluster_domain.clone(),
        trust_domain: options.trust_domain.clone(),
        ..Context::default()
    }
}

/// Bound again at once after a restart, whatever connections linger.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

pub(crate) fn at(what: impl ToString) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::Io(what.to_string(), error)
}
