//! One stream of a tunnel: its CONNECT is judged, and answered when it is known what becomes of it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use heddle_core::authorize::Flow;
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::{LocalWorkload, Service};
use http::{Request, Response, StatusCode};

use super::arrival::{self, Arrival, Door};
use super::copy::Broken;
use super::network::PodNetwork;
use super::tunnel::TunnelStream;
use super::tunnel::connect::{self, BadConnect};
use super::tunnel::server::TunnelPeer;
use super::worker::Worker;
use crate::http::Wire;
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
    worker: &Rc<Worker<N>>,
    pod: &Arc<Pod>,
    tunnel: &TunnelPeer,
    requested: Box<Requested>,
) {
    let client = requested.client;
    let mut outcome = Outcome::begin(&worker.telemetry, Direction::Inbound, Some(client));
    let Requested { destination, receive, mut respond, .. } = *requested;
    let result = match destination {
        Ok(destination) => {
            let flow = Flow { peer: tunnel.peer.clone(), source: tunnel.address.ip(), destination };
            let arrival = Arrival { pod: pod.clone(), direction: Direction::Inbound, client, flow };
            arrival::serve(worker, arrival, Stream { receive, respond }, &mut outcome).await
        }
        Err(failure) => {
            answer(&mut respond, status(failure.reason), true);
            Err(failure)
        }
    };
    outcome.conclude(&result);
}

/// A stream of a tunnel that waits for its answer.
struct Stream {
    receive: RecvStream,
    respond: SendResponse<Bytes>,
}

impl Door for Stream {
    fn open(mut self) -> Result<Wire, Failure> {
        let send = answer(&mut self.respond, StatusCode::OK, false).ok_or(Reason::ClientReset)?;
        Ok(Wire::Tunnel(TunnelStream::new(send, self.receive, None)))
    }

    fn refuse(mut self, reason: Reason) {
        answer(&mut self.respond, status(reason), true);
    }
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
    let service = services(snapshot, local, flow.destination.port()).into_iter().next();
    let mutual_tls = matches!(flow.peer, Peer::Verified(_));
    TcpLabels { reporter: Reporter::Destination, source, destination, service, mutual_tls }
}

/// The services that lead to a port of the pod.
pub(super) fn services(snapshot: &Snapshot, local: &LocalWorkload, port: u16) -> Vec<Arc<Service>> {
    let workload = snapshot.workload(&local.workload_uid);
    let all = workload.into_iter().flat_map(|workload| &workload.services);
    let leading = all.filter(|(_, ports)| ports.iter().any(|mapping| mapping.target_port == port));
    leading.filter_map(|(key, _)| snapshot.service(key)).cloned().collect()
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
