//! HTTP in the destination's agent: every request is judged in the form in which it goes on, and told to telemetry.
//!
//! ```text
//! http::server ─► handle: authority, canonical path ─► authorize_request ─┬─ denied ─► 403
//!                                                                          └─ app: one connection ─► the application
//! ```
//! One inbound stream has one connection to the application, which speaks what the client speaks.

mod app;
mod forward;
mod handle;
mod refusal;
mod switch;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use heddle_core::authorize::Flow;
use heddle_core::names::Generation;
use heddle_core::workload::Service;
use http::{HeaderValue, Version};
use hyper::service::service_fn;

use super::arrival::{Arrival, Passing, pass};
use super::live::Registration;
use super::network::PodNetwork;
use super::socket::Socket;
use super::worker::Worker;
use crate::http::Wire;
use crate::http::framing::Framing;
use crate::http::server::{self, Activity, Bounds, Ended};
use crate::pod::Pod;
use crate::telemetry::{Direction, Failure, Labels, Meter, Reason};
use app::App;
use switch::Switch;

/// What every request of a connection has in common.
pub(super) struct Requests<N> {
    worker: Rc<Worker<N>>,
    pod: Arc<Pod>,
    direction: Direction,
    client: SocketAddr,
    flow: Flow,
    labels: Labels,
    /// `x-forwarded-client-cert`, where the client has proven who it is.
    client_certificate: Option<HeaderValue>,
    /// Those that lead to this port.
    services: Vec<Arc<Service>>,
    cluster: Arc<str>,
    registration: Rc<Registration>,
    /// The last configuration under which every request of this connection was found to be permitted.
    permitted: Cell<Option<Generation>>,
    app: App,
    framing: Rc<Framing>,
    activity: Rc<Activity>,
    /// Where the connection goes when an answer has switched protocols.
    switch: RefCell<Option<Switch>>,
}

impl<N: PodNetwork> Requests<N> {
    /// `app`: the connection that was opened before it was known that there are requests.
    pub(super) fn new(
        worker: Rc<Worker<N>>,
        arrival: &Arrival,
        (labels, services): (Labels, Vec<Arc<Service>>),
        registration: Rc<Registration>,
        app: Option<Socket>,
    ) -> Self {
        Self {
            worker,
            pod: arrival.pod.clone(),
            direction: arrival.direction,
            client: arrival.client,
            flow: arrival.flow.clone(),
            client_certificate: forward::proven(&arrival.flow.peer, labels.destination.identity()),
            labels,
            services,
            cluster: format!("inbound|{}||", arrival.flow.destination.port()).into(),
            registration,
            permitted: Cell::default(),
            app: App::new(app),
            framing: Rc::default(),
            activity: Rc::default(),
            switch: RefCell::default(),
        }
    }

    /// Serves requests until the connection ends. `first`: what was read of it already; `two`: it is HTTP/2.
    pub(super) async fn serve(self: Box<Self>, wire: Wire, first: Bytes, two: bool) -> Result<(), Failure> {
        let this: Rc<Self> = Rc::new(*self);
        let bounds = Bounds {
            draining: this.worker.draining.clone(),
            idle: this.worker.limits.http_idle,
            activity: this.activity.clone(),
        };
        let handling = this.clone();
        // Boxed: hyper and the runtime hand it on by value, several times.
        let service = service_fn(move |request| Box::pin(handle::serve(handling.clone(), request)));
        let ended = if two {
            server::http2(wire, first, service, &bounds, &this.worker.tasks).await.map(|()| Ended::Closed)
        } else {
            let head = this.worker.limits.http_head;
            server::http1(wire, first, this.framing.clone(), service, &bounds, head).await
        };
        match ended {
            Ok(Ended::Closed) => Ok(()),
            Ok(Ended::Switched(near)) => this.cross(*near).await,
            Err(error) => {
                if error.is_parse() || (!two && this.framing.is_broken()) {
                    handle::record_bad(&this, if two { Version::HTTP_2 } else { Version::HTTP_11 });
                }
                Err(Failure::new(Reason::ClientReset, &error))
            }
        }
    }

    /// Bytes, from here on, between the client and the application.
    async fn cross(&self, (near, first): (Wire, Bytes)) -> Result<(), Failure> {
        let switch = self.switch.borrow_mut().take().ok_or(Reason::ServerReset)?;
        let (app, answered) = switch.back.await.map_err(|gone| Failure::new(Reason::ServerReset, &gone))?;
        let Wire::Socket(app) = app else { return Err(Reason::ServerReset.into()) };
        let meter = Rc::new(Meter::default());
        let passing = Passing { near, first, app };
        let result = Box::pin(pass(&self.worker, passing, answered, &meter)).await;
        let exchange = switch.exchange;
        exchange.received.set(meter.received.get());
        exchange.record().sent = meter.sent.get();
        exchange.conclude();
        result
    }
}
