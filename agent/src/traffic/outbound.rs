//! One captured connection, from the pod's socket to a tunnel stream or to a destination outside the mesh.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use heddle_core::authorize::{Permit, authorize_outbound};
use heddle_core::identity::Identity;
use heddle_core::names::OrigDst;
use heddle_core::resolve::{Destination, resolve};
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::{LocalWorkload, Service, Workload};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout_at};

use super::captured::{Begun, Captured};
use super::copy::{self, Tally};
use super::dial;
use super::live::Facts;
use super::network::PodNetwork;
use super::plaintext::broken;
use super::secured::{self, Secured};
use super::socket::Socket;
use super::tunnel::TunnelStream;
use super::tunnel::client::{self, Attempt};
use super::tunnel::pool::{PoolKey, Pooled};
use super::worker::Worker;
use crate::datapath::TUNNEL_PORT;
use crate::http::{self, Wire};
use crate::pod::Pod;
use crate::telemetry::tcp::{Party, Reporter, TcpLabels};
use crate::telemetry::{Direction, Failure, Outcome, Reason};

/// Serves a connection to its end; whatever fails resets the client.
pub async fn serve<N: PodNetwork>(worker: Rc<Worker<N>>, pod: &Arc<Pod>, socket: Socket, client: SocketAddr) {
    let mut outcome = Outcome::begin(&worker.telemetry, Direction::Outbound, Some(client));
    let result = proceed(&worker, pod, socket, client, &mut outcome).await;
    outcome.conclude(&result);
}

async fn proceed<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    pod: &Arc<Pod>,
    socket: Socket,
    client: SocketAddr,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let dialled = worker.network.original_destination(pod, client).ok_or(Reason::NotCaptured)?;
    outcome.dialled = Some(dialled.0);
    let facts = Facts {
        pod: pod.uid.clone(),
        direction: Direction::Outbound,
        client,
        destination: dialled.0,
        flow: None,
    };
    let registration = worker.live.register(facts, outcome.meter());
    let captured = Captured { worker, pod, dialled, client };
    // Boxed: what it takes to connect is not paid for while the connection lives.
    let begun = registration.run(Box::pin(captured.begin(socket, outcome))).await?;
    match begun {
        Begun::Http { stage, socket, first, two } => {
            outcome.carries_requests();
            registration.run(Box::pin(http::stage::serve(*stage, socket, first, two))).await
        }
        Begun::Nothing(socket) => {
            outcome.carries_requests();
            socket.finish();
            Ok(())
        }
        Begun::Opaque { mut socket, first, mut upstream, kept } => {
            let idle = worker.limits.half_closed_idle;
            {
                let tally = Tally::client(outcome.meter());
                let copying = pin!(async {
                    if !first.is_empty() {
                        // Boxed: few connections have something to say ahead of the rest.
                        Box::pin(upstream.send_first(first, tally)).await?;
                    }
                    match &mut upstream {
                        Upstream::Tunnel(stream) => {
                            let ahead = stream.take_ahead();
                            if !ahead.is_empty() {
                                Box::pin(answer_first(&mut socket, stream, &ahead, tally)).await?;
                            }
                            copy::tunnelled(&mut socket, stream, &worker.arena, tally, idle).await
                        }
                        Upstream::Secured(far) => {
                            Box::pin(secured::copy(&mut socket, far, &worker.arena, tally, idle)).await
                        }
                        // Boxed: it takes more than a tunnelled connection, which should not have to keep room for it.
                        Upstream::Plain(far) => {
                            Box::pin(copy::plain(&mut socket, far, &worker.arena, tally, idle)).await
                        }
                    }
                    .map_err(|error| broken(&error))
                });
                match &kept {
                    // Boxed, as few have a timer.
                    Some(kept) if kept.is_bounded() => {
                        let ended = Box::pin(copy::within(copying, outcome.meter(), kept.idle, kept.age));
                        registration.run(ended).await?;
                    }
                    _ => registration.run(copying).await?,
                }
            }
            drop(kept);
            upstream.finish();
            socket.finish();
            Ok(())
        }
    }
}

/// A server that speaks first is heard before its client has said anything.
async fn answer_first(
    socket: &mut Socket,
    stream: &mut TunnelStream,
    ahead: &Bytes,
    tally: Tally<'_>,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Reason::ClientReset, error);
    socket.stream_mut().write_all(ahead).await.map_err(|error| failed(&error))?;
    tally.to_socket.set(tally.to_socket.get() + ahead.len() as u64);
    stream.receive.flow_control().release_capacity(ahead.len()).map_err(|error| failed(&error))
}

/// Where a connection went.
#[derive(Debug)]
pub(super) enum Upstream {
    Tunnel(TunnelStream),
    Plain(Socket),
    Secured(Secured),
}

impl Upstream {
    pub(super) fn into_wire(self) -> Wire {
        match self {
            Self::Tunnel(stream) => Wire::Tunnel(stream),
            Self::Plain(socket) => Wire::Socket(socket),
            Self::Secured(secured) => secured.into_wire(),
        }
    }

    /// Ready when the server has something to say, or has ended.
    pub(super) fn poll_speaks(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tunnel(stream) => stream.poll_speaks(cx),
            Self::Plain(socket) => socket.poll_speaks(cx),
            Self::Secured(secured) => secured.poll_speaks(cx),
        }
    }

    /// What was read to find out what is spoken.
    async fn send_first(&mut self, first: Bytes, tally: Tally<'_>) -> Result<(), Failure> {
        let length = first.len() as u64;
        let failed = |error: &dyn std::fmt::Display| Failure::new(Reason::ServerReset, error);
        match self {
            // A few bytes: the stream keeps them until there is credit.
            Self::Tunnel(stream) => stream.send.send_data(first, false).map_err(|error| failed(&error))?,
            Self::Plain(far) => {
                far.stream_mut().write_all(&first).await.map_err(|error| failed(&error))?;
            }
            Self::Secured(far) => far.send_first(&first).await.map_err(|error| failed(&error))?,
        }
        tally.from_socket.set(tally.from_socket.get() + length);
        Ok(())
    }

    fn finish(self) {
        match self {
            Self::Tunnel(stream) => stream.finish(),
            Self::Plain(socket) => socket.finish(),
            Self::Secured(secured) => secured.finish(),
        }
    }
}

pub(super) async fn connect<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    pod: &Arc<Pod>,
    dialled: OrigDst,
    client: SocketAddr,
    destination: Destination,
    (outcome, counted): (&mut Outcome, &mut Option<TcpLabels>),
) -> Result<Upstream, Failure> {
    let snapshot = worker.snapshot();
    let local = worker.rules.of(&pod.uid, &snapshot).ok_or(Reason::PodUnknown)?;
    let local = &*local;
    match destination {
        Destination::Workload { workload, address, service, tunnel } => {
            let permit = authorize_outbound(&snapshot, local, address)?;
            outcome.upstream = Some(address);
            outcome.cluster = Some(cluster_name(dialled, service.as_deref()));
            let party = Party::Workload(workload.clone());
            *counted = Some(labels(&snapshot, local, party, service, tunnel));
            let source = local.identity.clone();
            drop(snapshot);
            match tunnel {
                true => open(worker, pod, source, &workload, permit, client).await.map(Upstream::Tunnel),
                false => {
                    dial::passthrough(&worker.network, &worker.limits, pod, permit).await.map(Upstream::Plain)
                }
            }
        }
        Destination::Passthrough(address) => {
            let permit = authorize_outbound(&snapshot, local, address)?;
            outcome.upstream = Some(address);
            outcome.cluster = Some("PassthroughCluster".into());
            *counted = Some(labels(&snapshot, local, Party::Unknown, None, false));
            drop(snapshot);
            dial::passthrough(&worker.network, &worker.limits, pod, permit).await.map(Upstream::Plain)
        }
        Destination::Unknown => Err(Reason::UnknownDestination.into()),
        Destination::Refused(refusal) => {
            outcome.cluster = Some("BlackHoleCluster".into());
            Err(Failure::new(refusal.into(), &refusal))
        }
    }
}

/// Resolves, and waits a bounded time for a controller that has not told us of the destination yet.
pub(super) async fn find<N: PodNetwork>(
    worker: &Worker<N>,
    namespace: &str,
    dialled: OrigDst,
) -> (Arc<Snapshot>, Destination) {
    let random = worker.random();
    let mut snapshots = worker.snapshots.clone();
    let deadline = Instant::now() + worker.limits.hold;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let destination = resolve(&snapshot, dialled, random);
        let listed = || snapshot.destinations().listed(namespace, dialled.0.ip(), dialled.0.port()).is_some();
        if destination != Destination::Unknown || listed() {
            return (snapshot, destination);
        }
        match timeout_at(deadline, snapshots.changed()).await {
            Ok(Ok(())) => {}
            // Out of time, or there will be no other snapshot.
            Ok(Err(_)) | Err(_) => return (snapshot, destination),
        }
    }
}

/// Opens a stream to the workload over a pooled connection; over a new one if the pooled one has died meanwhile.
pub(crate) async fn open<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    pod: &Arc<Pod>,
    source: Identity,
    workload: &Workload,
    permit: Permit,
    client: SocketAddr,
) -> Result<TunnelStream, Failure> {
    let key = PoolKey {
        pod: pod.uid.clone(),
        cookie: pod.cookie,
        source,
        address: SocketAddr::new(permit.destination().ip(), TUNNEL_PORT),
        expected: workload.identity.clone(),
    };
    let mut failure = Failure::from(Reason::TunnelProtocol);
    for _ in 0..2 {
        let lease = worker.pool.lease(&key, || establish(worker.clone(), pod.clone(), key.clone())).await?;
        match client::open(lease, &permit, client, &worker.limits).await {
            Ok(stream) => return Ok(stream),
            Err(Attempt::Final(failure)) => return Err(failure),
            Err(Attempt::Stale(stale)) => failure = stale,
        }
    }
    Err(failure)
}

/// Makes the connection that everybody who waits for this key will share.
async fn establish<N: PodNetwork>(
    worker: Rc<Worker<N>>,
    pod: Arc<Pod>,
    key: PoolKey,
) -> Result<Rc<Pooled>, Failure> {
    let credentials = &worker.credentials;
    let config = credentials.client_config(&pod.uid, &key.expected).ok_or(Reason::NoCertificate)?;
    let retire_at = credentials.not_after(&pod.uid).map(retirement);
    let socket = dial::tunnel(&worker.network, &worker.limits, &pod, key.address)
        .await
        .map_err(|failure| Failure { reason: Reason::TunnelConnect, ..failure })?;
    let (sender, driver) = client::handshake(socket, config, key.address, &worker.limits).await?;
    worker.telemetry.client_tunnels.inc();
    let pooled = Pooled::new(sender, retire_at);
    let tracked = Rc::downgrade(&pooled);
    worker.tasks.spawn_local(async move {
        let ended = driver.run().await;
        if let Some(pooled) = tracked.upgrade() {
            pooled.close();
        }
        tracing::debug!(source = %key.source, to = %key.address, ?ended, "tunnel closed");
    });
    Ok(pooled)
}

/// A connection takes no new streams in the last tenth of its certificate's remaining life.
fn retirement(not_after: SystemTime) -> std::time::Instant {
    let remaining = not_after.duration_since(SystemTime::now()).unwrap_or_default();
    std::time::Instant::now() + remaining / 10 * 9
}

pub(super) fn labels(
    snapshot: &Snapshot,
    local: &LocalWorkload,
    destination: Party,
    service: Option<Arc<Service>>,
    mutual_tls: bool,
) -> TcpLabels {
    let source = match snapshot.workload(&local.workload_uid) {
        Some(workload) => Party::Workload(workload.clone()),
        None => Party::Identity(local.identity.clone()),
    };
    TcpLabels { reporter: Reporter::Source, source, destination, service, mutual_tls }
}

/// Envoy's name of an outbound cluster.
fn cluster_name(dialled: OrigDst, service: Option<&Service>) -> Box<str> {
    let port = dialled.0.port();
    match service {
        Some(service) => format!("outbound|{port}||{}", service.hostname).into(),
        None => format!("outbound|{port}||{}", dialled.0.ip()).into(),
    }
}
