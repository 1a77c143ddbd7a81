//! An inbound connection in clear, on port 15006: its identity is nobody's, and STRICT refuses it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use heddle_core::authorize::{Flow, Peer};

use super::arrival::{self, Arrival, Door};
use super::copy::Broken;
use super::network::PodNetwork;
use super::socket::Socket;
use super::tunnel::connect;
use super::worker::Worker;
use crate::http::Wire;
use crate::pod::Pod;
use crate::telemetry::{Direction, Failure, Outcome, Reason};

/// Serves a connection to its end.
pub async fn serve<N: PodNetwork>(worker: Rc<Worker<N>>, pod: &Arc<Pod>, socket: Socket, client: SocketAddr) {
    let mut outcome = Outcome::begin(&worker.telemetry, Direction::Plaintext, Some(client));
    let result = proceed(&worker, pod, socket, client, &mut outcome).await;
    outcome.conclude(&result);
}

async fn proceed<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    pod: &Arc<Pod>,
    near: Socket,
    client: SocketAddr,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    // sk_lookup steers without rewriting: the local address is what the client dialled.
    let destination = near.local_addr().map_err(|error| Failure::new(Reason::ClientReset, &error))?;
    let destination = SocketAddr::new(destination.ip().to_canonical(), destination.port());
    outcome.dialled = Some(destination);
    connect::check_destination(destination, &pod.addresses)
        .map_err(|bad| Failure::new(Reason::WrongDestination, &bad))?;
    let flow = Flow { peer: Peer::Plaintext, source: client.ip().to_canonical(), destination };
    let arrival = Arrival { pod: pod.clone(), direction: Direction::Plaintext, client, flow };
    arrival::serve(worker, arrival, near, outcome).await
}

impl Door for Socket {
    fn open(self) -> Result<Wire, Failure> {
        Ok(Wire::Socket(self))
    }

    /// Dropped, it is reset.
    fn refuse(self, _reason: Reason) {}
}

/// The near socket is the client, the far one the server.
pub(super) fn broken(broken: &Broken) -> Failure {
    match broken {
        Broken::Socket(_) => Failure::new(Reason::ClientReset, broken),
        Broken::Far(_) => Failure::new(Reason::ServerReset, broken),
        Broken::Idle => Reason::HalfClosedIdle.into(),
    }
}
