//! An inbound connection in clear, on port 15006: its identity is nobody's, and STRICT refuses it.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use heddle_core::authorize::{Flow, Peer, authorize_opaque};

use super::copy::{self, Broken, Tally};
use super::dial;
use super::inbound::labels;
use super::live::Facts;
use super::network::PodNetwork;
use super::socket::Socket;
use super::tunnel::connect;
use super::worker::Worker;
use crate::pod::Pod;
use crate::telemetry::{Direction, Failure, Outcome, Reason};

/// Serves a connection to its end.
pub async fn serve<N: PodNetwork>(worker: Rc<Worker<N>>, pod: &Arc<Pod>, socket: Socket, client: SocketAddr) {
    let mut outcome = Outcome::begin(&worker.telemetry, Direction::Plaintext, Some(client));
    let result = proceed(&worker, pod, socket, client, &mut outcome).await;
    outcome.conclude(&result);
}

async fn proceed<N: PodNetwork>(
    worker: &Worker<N>,
    pod: &Arc<Pod>,
    mut near: Socket,
    client: SocketAddr,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    // sk_lookup steers without rewriting: the local address is what the client dialled.
    let destination = near.local_addr().map_err(|error| Failure::new(Reason::ClientReset, &error))?;
    let destination = SocketAddr::new(destination.ip().to_canonical(), destination.port());
    outcome.dialled = Some(destination);
    connect::check_destination(destination, &pod.addresses)
        .map_err(|bad| Failure::new(Reason::WrongDestination, &bad))?;
    outcome.upstream = Some(destination);
    outcome.cluster = Some(format!("inbound|{}||", destination.port()).into());
    let flow = Flow { peer: Peer::Plaintext, source: client.ip().to_canonical(), destination };
    let facts = Facts {
        pod: pod.uid.clone(),
        direction: Direction::Plaintext,
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
    drop(snapshot);
    let meter = outcome.meter();
    let dialling = Box::pin(dial::application(&worker.network, &worker.limits, pod, permit, client));
    let mut far = registration.run(dialling).await?;
    {
        let copying = pin!(async {
            let idle = worker.limits.half_closed_idle;
            copy::plain(&mut near, &mut far, &worker.arena, Tally::client(meter), idle)
                .await
                .map_err(|error| broken(&error))
        });
        registration.run(copying).await?;
    }
    far.finish();
    near.finish();
    Ok(())
}

/// The near socket is the client, the far one the server.
pub(super) fn broken(broken: &Broken) -> Failure {
    match broken {
        Broken::Socket(_) => Failure::new(Reason::ClientReset, broken),
        Broken::Far(_) => Failure::new(Reason::ServerReset, broken),
        Broken::Idle => Reason::HalfClosedIdle.into(),
    }
}
