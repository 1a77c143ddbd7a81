//! One captured connection as HTTP: its requests, one by one or many at once, until it ends.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use heddle_core::names::OrigDst;
use heddle_core::upstream::{Endpoint, Transport};
use heddle_core::workload::Service;
use http::Version;
use hyper::service::service_fn;
use tokio_util::task::TaskTracker;

use super::framing::Framing;
use super::io::{HttpIo, Wire};
use super::request;
use super::server::{self, Activity, Bounds, Ended};
use super::upgrade::{self, Crossing};
use super::upstream::PodClusters;
use crate::pod::Pod;
use crate::telemetry::{Failure, Reason};
use crate::traffic::network::PodNetwork;
use crate::traffic::socket::Socket;
use crate::traffic::worker::Worker;

/// What every request of a connection has in common.
#[derive(Debug)]
pub struct Stage<N> {
    /// Of the connection.
    pub worker: Rc<Worker<N>>,
    /// Who asks.
    pub pod: Arc<Pod>,
    /// From which port of its own.
    pub client: SocketAddr,
    /// What it dialled.
    pub dialled: OrigDst,
    /// The service of that address, as of the beginning.
    pub service: Option<Arc<Service>>,
    /// Where its pod's requests go.
    pub clusters: Rc<PodClusters>,
    /// Of HTTP/1.
    pub framing: Option<Rc<Framing>>,
    /// What is under way.
    pub activity: Rc<Activity>,
    /// Opened before it was known that this is HTTP: the connection of the first request.
    pub opened: RefCell<Option<Opened>>,
    /// Where the connection goes when the answer has switched protocols.
    pub crossing: RefCell<Option<Crossing>>,
}

/// A connection to an endpoint that nobody has used yet.
#[derive(Debug)]
pub struct Opened {
    /// Where it leads.
    pub address: SocketAddr,
    /// The connection.
    pub wire: Wire,
}

impl Opened {
    /// Whether it is what a connection to this endpoint would be; one with TLS has offered no protocol.
    pub fn serves(&self, endpoint: &Endpoint) -> bool {
        let same = matches!(
            (&self.wire, &endpoint.transport),
            (Wire::Socket(_), Transport::Plain) | (Wire::Tunnel(_), Transport::Tunnel)
        );
        same && self.address == endpoint.address
    }

    /// Nobody needs it: ended, not reset.
    pub fn close(self, tasks: &TaskTracker) {
        tasks.spawn_local(HttpIo::client(self.wire).close());
    }
}

/// Serves HTTP on a captured connection to its end. `first`: what was read of it already; `two`: it is HTTP/2.
///
/// # Errors
/// It was cut short.
pub async fn serve<N: PodNetwork>(
    stage: Stage<N>,
    socket: Socket,
    first: Bytes,
    two: bool,
) -> Result<(), Failure> {
    let stage = Rc::new(stage);
    let bounds = Bounds {
        draining: stage.worker.draining.clone(),
        idle: stage.worker.limits.http_idle,
        activity: stage.activity.clone(),
    };
    let handling = stage.clone();
    // Boxed: hyper and the runtime hand it on by value, several times.
    let service = service_fn(move |request| Box::pin(request::serve(handling.clone(), request)));
    let wire = Wire::Socket(socket);
    let ended = match &stage.framing {
        Some(framing) if !two => {
            let head = stage.worker.limits.http_head;
            server::http1(wire, first, framing.clone(), service, &bounds, head).await
        }
        _ => server::http2(wire, first, service, &bounds, &stage.worker.tasks).await.map(|()| Ended::Closed),
    };
    if let Some(opened) = stage.opened.borrow_mut().take() {
        opened.close(&stage.worker.tasks);
    }
    match ended {
        Ok(Ended::Closed) => Ok(()),
        Ok(Ended::Switched(raw)) => {
            let crossing = stage.crossing.borrow_mut().take();
            let Some(crossing) = crossing else { return Err(Reason::ClientReset.into()) };
            upgrade::cross(*raw, crossing).await
        }
        Err(error) => {
            if error.is_parse() || stage.framing.as_ref().is_some_and(|framing| framing.is_broken()) {
                request::record_bad(&stage, if two { Version::HTTP_2 } else { Version::HTTP_11 });
            }
            Err(Failure::new(Reason::ClientReset, &error))
        }
    }
}
