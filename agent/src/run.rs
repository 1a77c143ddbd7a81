//! The composition root: every owner is started here, and stopped here in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, LogLevel, ServeError, Sources};
use crate::cni;
use crate::control::{self, ConnectError, Control, ControlOptions, Controller, Publications};
use crate::datapath::enrolment;
use crate::datapath::{Applied, Captured, Datapath, DatapathError, DatapathOptions, EnrolmentOptions};
use crate::dns::names::{Names, Pace};
use crate::dns::resolver::FromPods;
use crate::identity::{Identities, KeyStore, KeysError, Renewal, RenewalOptions, WallClock};
use crate::node::{self, Detected, NodeRoots, Proc};
use crate::options::Options;
use crate::telemetry::Telemetry;
use crate::telemetry::access_log::GATHER;
use crate::traffic::limits::Limits;
use crate::traffic::{WorkerContext, Workers, spawn_workers};

/// Control and admin: never more than this of the node, whatever traffic does.
const CONTROL_THREADS: usize = 2;
/// For the owners to write what they must before the process ends; servers have nothing to finish.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the agent stops.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kernel side.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The directory for keys.
    #[error("--keys-dir {0}")]
    Keys(#[from] KeysError),
    /// The controller's address.
    #[error("--controller: {0}")]
    Controller(#[from] ConnectError),
    /// An address or socket for people and scrapers.
    #[error("cannot serve {0}")]
    Serve(#[from] ServeError),
    /// The CNI plugin's socket.
    #[error("--cni-socket: {0}")]
    Plugin(#[from] cni::SocketError),
    /// A part of the agent ended, which it never should.
    #[error("{0} ended")]
    Ended(&'static str),
    /// The system refused a thread, a signal handler or the like.
    #[error("starting the agent: {0}")]
    System(#[from] std::io::Error),
}

type Tasks = JoinSet<Result<(), RunError>>;

/// Runs until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// Why it cannot start, or cannot go on.
pub fn run(options: &Options, node: Detected, log_level: LogLevel) -> Result<(), RunError> {
    let keys = KeyStore::open(&options.keys_dir)?;
    let datapath = Datapath::open(&DatapathOptions {
        bpffs: node.bpffs.clone(),
        cgroup: node.cgroup.clone(),
        prober_cgroup: node.prober.clone(),
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()?;
    let _guard = runtime.enter();
    let (control, publications) = Control::new(ControlOptions {
        node: options.node.clone(),
        controller: controller(options),
        state_dir: options.state_dir.clone(),
    });
    let clock = WallClock::default();
    let identities = Identities::new(clock.clone());
    let renewal = RenewalOptions { controller: controller(options), ttl: options.cert_ttl, keys, clock };
    let renewal = Renewal::new(renewal, Arc::clone(&identities))?;
    let registry = prometheus::Registry::new();
    let traffic = start_traffic(options, &datapath, &publications, &identities, &registry)?;
    let pods = EnrolmentOptions {
        pods_dir: options.pods_dir.clone(),
        captured_dir: options.captured_dir.clone(),
        running: options.cni_socket.as_ref().map(|_| Proc::at(&options.proc)),
        roots: node.roots.clone(),
    };
    // Before the first pod is touched: two agents on one node would undo each other's work.
    let plugin = options.cni_socket.as_deref().map(cni::listen).transpose()?;
    let enrolment = enrolment::spawn(&datapath, pods, publications.snapshots.clone(), traffic.commands())?;
    let sources = Arc::new(Sources {
        node: options.node.clone(),
        controller: options.controller.clone(),
        publications,
        applied: enrolment.applied.clone(),
        clusters: traffic.clusters(),
        identities,
        inspector: datapath.inspector(),
        workers: Arc::new(traffic),
        captured: enrolment.captured.clone(),
        registry,
        log_level,
        draining: Arc::new(AtomicBool::new(false)),
    });
    let stop = CancellationToken::new();
    let (mut owners, mut servers) = (Tasks::new(), Tasks::new());
    start((&mut owners, &mut servers), (control, renewal), &sources, &stop);
    serve(&mut servers, options, &sources);
    if let Some(prober) = node.follow {
        let keep = node::keep(prober, datapath);
        servers.spawn(async move {
            keep.await;
            Err(RunError::Ended("the kubelet's cgroup"))
        });
    }
    if let Some(listening) = plugin {
        let captured = enrolment.captured.clone();
        serve_plugin(&mut servers, options, (listening, node.roots, captured), &sources)?;
    }
    runtime.block_on(async {
        let ended = tokio::select! {
            ended = until_drained(options.drain, &sources) => ended,
            Some(Ok(ended)) = owners.join_next() => ended,
            Some(Ok(ended)) = servers.join_next() => ended,
        };
        stop.cancel();
        let _late = timeout(LAST_WORDS, async { while owners.join_next().await.is_some() {} }).await;
        // The last lines of the access log are written by a thread of its own.
        tokio::time::sleep(2 * GATHER).await;
        ended
    })
}

fn start_traffic(
    options: &Options,
    datapath: &Datapath,
    publications: &Publications,
    identities: &Arc<Identities>,
    registry: &prometheus::Registry,
) -> std::io::Result<Workers> {
    let telemetry = Telemetry::new(registry.clone()).map_err(std::io::Error::other)?;
    let lookup = FromPods::new(datapath.sockets(), Proc::at(&options.proc));
    let context = WorkerContext {
        network: datapath.sockets(),
        snapshots: publications.snapshots.clone(),
        credentials: Arc::<Identities>::clone(identities),
        telemetry: telemetry.with_access_log().map_err(std::io::Error::other)?,
        limits: Limits { hold: options.hold, drain: options.drain, ..Limits::default() },
        names: Names::new(Arc::new(lookup), Pace::default(), Handle::current()),
    };
    spawn_workers(options.worker_count(), &context)
}

fn controller(options: &Options) -> Controller {
    Controller {
        address: options.controller.clone(),
        root_cert: options.root_cert.clone(),
        trust_domain: options.trust_domain.clone(),
        token_file: options.token_file.clone(),
    }
}

/// The owners of configuration and certificates, and the gate between the kernel and the controller.
fn start(
    (owners, servers): (&mut Tasks, &mut Tasks),
    (control, renewal): (Control, Renewal),
    sources: &Sources,
    stop: &CancellationToken,
) {
    let (passed, acknowledged) = watch::channel(Applied::default());
    let Publications { snapshots, roots, .. } = sources.publications.clone();
    let gate =
        control::gate(sources.applied.clone(), snapshots.clone(), Arc::clone(&sources.identities), passed);
    servers.spawn(owner("the datapath", gate, stop.clone()));
    owners.spawn(owner("control", control.run(acknowledged, stop.clone()), stop.clone()));
    owners.spawn(owner("identity", renewal.run(snapshots, roots, stop.clone()), stop.clone()));
}

/// An owner's task ends when it is told to, or the agent does.
async fn owner(
    name: &'static str,
    task: impl Future<Output = ()>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    task.await;
    if stop.is_cancelled() { Ok(()) } else { Err(RunError::Ended(name)) }
}

fn serve(tasks: &mut Tasks, options: &Options, sources: &Arc<Sources>) {
    let (metrics, ready) = (options.metrics_address, options.ready_address);
    let socket = options.admin_socket.clone();
    let of = || Arc::clone(sources);
    let (for_socket, for_metrics, for_ready) = (of(), of(), of());
    tasks.spawn(async move { Ok(admin::serve_socket(&socket, for_socket).await?) });
    tasks.spawn(async move { Ok(admin::serve_metrics(metrics, for_metrics).await?) });
    tasks.spawn(async move { Ok(admin::serve_ready(ready, for_ready).await?) });
}

/// The CNI plugin's socket, and what it reads while there is none.
fn serve_plugin(
    tasks: &mut Tasks,
    options: &Options,
    (listening, roots, captured): (cni::Listening, NodeRoots, watch::Receiver<Arc<Captured>>),
    sources: &Sources,
) -> Result<(), RunError> {
    let records = cni::Records::new(&options.pods_dir);
    let metrics = cni::Metrics::new(&sources.registry).map_err(std::io::Error::other)?;
    let snapshots = sources.publications.snapshots.clone();
    let views = cni::Views {
        snapshots: snapshots.clone(),
        status: sources.publications.status.clone(),
        captured,
        applied: sources.applied.clone(),
    };
    let keep = cni::keep(options.cni_dir.clone(), records.clone(), roots.clone(), snapshots, metrics.clone());
    let server = cni::Server { views, records, roots, metrics };
    tasks.spawn(async move {
        server.serve(listening).await;
        Err(RunError::Ended("the CNI socket"))
    });
    tasks.spawn(async move {
        keep.await;
        Err(RunError::Ended("the CNI plugin's list"))
    });
    Ok(())
}

/// Waits for a signal, then for connections to finish. A second signal ends that.
async fn until_drained(within: Duration, sources: &Sources) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(?within, "draining");
    sources.draining.store(true, Ordering::Relaxed);
    let drained = async {
        sources.workers.drain().await;
        for worker in sources.workers.commands() {
            worker.closed().await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = tokio::time::sleep(within) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
