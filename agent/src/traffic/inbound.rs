//! One stream of a tunnel, from CONNECT to the pod's application: judge, register, authorize, dial, answer, copy.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use heddle_core::authorize::{Flow, authorize_opaque};
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::{LocalWorkload, Service};
use http::{Request, Response, StatusCode};

use super::copy::{self, Broken, Tally};
use super::dial;
use super::live::{Facts, Registration};
use super::network::PodNetwork;
use super::socket::Socket;
use super::tunnel::TunnelStream;
use super::tunnel::connect::{self, BadConnect};
use super::tunnel::server::TunnelPeer;
use super::worker::Worker;
use crate::pod::Pod;
use crate::telemetry::tcp::{Party, Reporter, TcpLabels};
use crate::telemetry::{Direction, Failure, Outcome, Reason};

/// A CONNECT, judged; what it came as is not kept.
#[derive(Debug)]
pub struct Requested {
    client: SocketAddr,
    destination: Result<SocketAddr, Failure>,
    receive: RecvStream,
    respond: SendResponse<Bytes>,
}

impl Requested {
    /// Judges a request that `tunnel` sent to the pod. Boxed: every async fn that hands it on would keep its place.
    pub fn judge(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        pod: &Pod,
        tunnel: &TunnelPeer,
    ) -> Box<Self> {
        let client = connect::client(tunnel.address, connect::forwarded(request.headers()));
        let destination = connect::check(request.method(), request.uri(), &pod.addresses);
        let destination = destination.and_then(|address| match connect::is_local_only(address.ip()) {
            true => Err(BadConnect::Address),
            false => Ok(address),
        });
        let destination = destination.map_err(|bad| match bad {
            BadConnect::Method | BadConnect::Authority => Failure::new(Reason::BadRequest, &bad),
            BadConnect::Address | BadConnect::Port => Failure::new(Reason::WrongDestination, &bad),
        });
        Box::new(Self { client, destination, receive: request.into_body(), respond })
    }
}

/// Serves a stream to its end.
pub async fn serve<N: PodNetwork>(
    worker: &Worker<N>,
    pod: &Arc<Pod>,
    tunnel: &TunnelPeer,
    requested: Box<Requested>,
) {
    let mut outcome = Outcome::begin(&worker.telemetry, Direction::Inbound, Some(requested.client));
    let result = proceed(worker, pod, tunnel, requested, &mut outcome).await;
    outcome.conclude(&result);
}

async fn proceed<N: PodNetwork>(
    worker: &Worker<N>,
    pod: &Arc<Pod>,
    tunnel: &TunnelPeer,
    requested: Box<Requested>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let Requested { destination, receive, mut respond, .. } = *requested;
    let connected = match destination {
        // Boxed: what it takes to connect is not paid for while the connection lives.
        Ok(destination) => Box::pin(open(worker, pod, tunnel, destination, outcome)).await,
        Err(failure) => Err(failure),
    };
    let (mut socket, registration) = match connected {
        Ok(connected) => connected,
        Err(failure) => {
            answer(&mut respond, status(failure.reason), true);
            return Err(failure);
        }
    };
    let Some(send) = answer(&mut respond, StatusCode::OK, false) else {
        return Err(Reason::ClientReset.into());
    };
    let mut stream = TunnelStream::new(send, receive, None);
    let meter = outcome.meter();
    let idle = worker.limits.half_closed_idle;
    {
        let copying = pin!(async {
            copy::tunnelled(&mut socket, &mut stream, &worker.arena, Tally::server(meter), idle)
                .await
                .map_err(|error| broken(&error))
        });
        registration.run(copying).await?;
    }
    stream.finish();
    socket.finish();
    Ok(())
}

/// Registers first, authorizes against the newest snapshot second, dials third: no revocation falls between.
async fn open<N: PodNetwork>(
    worker: &Worker<N>,
    pod: &Arc<Pod>,
    tunnel: &TunnelPeer,
    destination: SocketAddr,
    outcome: &mut Outcome,
) -> Result<(Socket, Registration), Failure> {
    let flow = Flow { peer: tunnel.peer.clone(), source: tunnel.address.ip(), destination };
    let client = outcome.client.unwrap_or(tunnel.address);
    outcome.dialled = Some(destination);
    outcome.upstream = Some(destination);
    outcome.cluster = Some(format!("inbound|{}||", destination.port()).into());
    let facts = Facts {
        pod: pod.uid.clone(),
        direction: Direction::Inbound,
        client,
        destination,
        flow: Some(flow.clone()),
    };
    let registration = worker.live.register(facts, outcome.meter());
    let snapshot = worker.snapshot();
    let local = worker.rules.of(&pod.uid, &snapshot).ok_or(Reason::PodUnknown)?;
    let local = &*local;
    outcome.classify(labels(&snapshot, local, &flow));
    let permit = authorize_opaque(&snapshot, local, &flow)?;
    let dialling = pin!(dial::application(&worker.network, &worker.limits, pod, permit, client));
    let socket = registration.run(dialling).await?;
    Ok((socket, registration))
}

/// What an inbound connection is counted under at its destination.
pub(super) fn labels(snapshot: &Snapshot, local: &LocalWorkload, flow: &Flow) -> TcpLabels {
    use heddle_core::authorize::Peer;
    let at_address = snapshot.workload_at(flow.source);
    let source = match &flow.peer {
        // The address is only a hint: it lends its names where it agrees with the identity that was proven.
        Peer::Verified(identity) => match at_address.filter(|workload| workload.identity == *identity) {
            Some(workload) => Party::Workload(workload.clone()),
            None => Party::Identity(identity.clone()),
        },
        Peer::Plaintext => Party::Unknown,
    };
    let workload = snapshot.workload(&local.workload_uid);
    let destination = match workload {
        Some(workload) => Party::Workload(workload.clone()),
        None => Party::Identity(local.identity.clone()),
    };
    let service = workload.and_then(|workload| {
        let mut services = workload.services.iter();
        let port = flow.destination.port();
        let (key, _) = services.find(|(_, ports)| ports.iter().any(|mapping| mapping.target_port == port))?;
        snapshot.service(key)
    });
    let service: Option<Arc<Service>> = service.cloned();
    let mutual_tls = matches!(flow.peer, Peer::Verified(_));
    TcpLabels { reporter: Reporter::Destination, source, destination, service, mutual_tls }
}

/// ztunnel's codes: 400 for a request that is none, 401 for what policy denies, 503 for what cannot be served.
fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::BadRequest | Reason::WrongDestination => StatusCode::BAD_REQUEST,
        Reason::PodUnknown
        | Reason::NotEnrolled
        | Reason::MtlsRequired
        | Reason::TrustDomain
        | Reason::PolicyMissing
        | Reason::PolicyDenied
        | Reason::NoAllowMatched
        | Reason::Revoked => StatusCode::UNAUTHORIZED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn answer(respond: &mut SendResponse<Bytes>, status: StatusCode, end: bool) -> Option<h2::SendStream<Bytes>> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    // It fails only for a stream that the client has reset already.
    respond.send_response(response, end).ok()
}

/// The socket is the server here.
pub(super) fn broken(broken: &Broken) -> Failure {
    match broken {
        Broken::Socket(_) => Failure::new(Reason::ServerReset, broken),
        Broken::Far(_) => Failure::new(Reason::ClientReset, broken),
        Broken::Idle => Reason::HalfClosedIdle.into(),
    }
}
