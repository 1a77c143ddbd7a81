//! Accept loops: one per in-pod listener, bounded, and never spinning when the process has run out of something.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::network::PodNetwork;
use super::served::Served;
use super::socket::{Socket, reset_on_close};
use super::tunnel::server;
use super::worker::Worker;
use super::{outbound, plaintext};
use crate::telemetry::{Direction, Reason};

/// After a failed accept, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// Accepts until the pod is stopped or released, its listeners are replaced, or the worker drains.
pub async fn accept<N: PodNetwork>(
    worker: Rc<Worker<N>>,
    served: Rc<Served>,
    listener: std::net::TcpListener,
    direction: Direction,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(pod = %served.pod, direction = direction.name(), %error, "listener is unusable");
            return;
        }
    };
    let mut pause = PAUSE.0;
    let mut stopped = std::pin::pin!(served.accepting.cancelled());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                pause = PAUSE.0;
                admit(&worker, &served, stream, client, direction);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                worker.telemetry.count(direction, Reason::Accept);
                tracing::debug!(pod = %served.pod, %error, "accept failed");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
    if let Ok(listener) = listener.into_std() {
        empty(&worker, &served, &listener, direction);
    }
}

/// What waits in the queue was let in before the end, and closing the listener would reset it.
fn empty<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    served: &Rc<Served>,
    listener: &std::net::TcpListener,
    direction: Direction,
) {
    while !served.stopped.is_cancelled() {
        let (stream, client) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(_nobody) => return,
        };
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            admit(worker, served, stream, client, direction);
        }
    }
}

/// Errors of a connection that died in the backlog (accept(2) passes them on), as opposed to want of resources.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
    ) || error.raw_os_error() == Some(libc::EPROTO)
}

/// Starts the connection's own task, or sheds it with a reset.
fn admit<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    served: &Rc<Served>,
    stream: TcpStream,
    client: SocketAddr,
    direction: Direction,
) {
    let shed = |stream: &TcpStream, reason| {
        reset_on_close(stream);
        worker.telemetry.count(direction, reason);
    };
    let Some(room) = worker.limits.descriptors.take_for_accept() else {
        return shed(&stream, Reason::Descriptors);
    };
    let Some(place) = served.admit(worker.limits.pod_connections) else {
        return shed(&stream, Reason::PodConnections);
    };
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let Ok(socket) = Socket::new(stream, room) else { return };
    let (worker, served) = (worker.clone(), served.clone());
    let tasks = worker.tasks.clone();
    match direction {
        Direction::Outbound => drop(tasks.spawn_local(async move {
            outbound::serve(worker, &served.pod, socket, client).await;
            drop(place);
        })),
        Direction::Plaintext => drop(tasks.spawn_local(async move {
            plaintext::serve(worker, &served.pod, socket, client).await;
            drop(place);
        })),
        Direction::Inbound => drop(tasks.spawn_local(async move {
            server::serve(worker, served, socket, client).await;
            drop(place);
        })),
    }
}
