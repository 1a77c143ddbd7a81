//! One open connection to an endpoint, and its use for one request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use heddle_core::upstream::Place;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bounds::NoConnection;
use super::pool::EndpointPool;
use crate::http::client::{self, Http1, Http2};
use crate::http::io::{HttpIo, Wire};
use crate::telemetry::{Failure, Reason};

type Switch = Rc<RefCell<Option<oneshot::Sender<(Wire, Bytes)>>>>;

/// An HTTP/1 connection.
#[derive(Debug)]
pub struct Connection1 {
    pub(super) sender: Http1,
    switch: Switch,
    local: Option<SocketAddr>,
    pub(super) served: u32,
    life: Life,
    born: Instant,
    pub(super) since: Instant,
    _open: Open,
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub struct Connection2 {
    pub(super) sender: Http2,
    local: Option<SocketAddr>,
    pub(super) streams: Cell<u32>,
    served: Cell<u32>,
    life: Life,
    born: Instant,
    pub(super) since: Cell<Instant>,
    pub(super) retired: Cell<bool>,
    ended: Rc<Notify>,
    _open: Open,
}

/// What ends a connection that has done nothing wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// Requests that it may serve; 0: no bound.
    pub(super) requests: u32,
    /// How old it may become: it takes no request any more then.
    pub(super) age: Option<Duration>,
}

impl Life {
    fn is_over(self, served: u32, born: Instant, now: Instant) -> bool {
        self.requests > 0 && served >= self.requests
            || self.age.is_some_and(|age| now.saturating_duration_since(born) >= age)
    }
}

impl Connection1 {
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        self.life.is_over(self.served, self.born, now)
    }
}

impl Connection2 {
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        self.retired.get() || self.life.is_over(self.served.get(), self.born, now)
    }
}

/// A connection counts while this lives.
#[derive(Debug)]
pub(super) struct Open {
    open: Rc<Cell<usize>>,
    place: Rc<Place>,
}

impl Open {
    pub(super) fn count(open: &Rc<Cell<usize>>, place: Place) -> Self {
        open.set(open.get() + 1);
        Self { open: open.clone(), place: Rc::new(place) }
    }

    /// Its place is free when the last byte has left, whoever lets go of it before.
    fn place(&self) -> Rc<Place> {
        self.place.clone()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

/// The use of a connection for one request; given back by [`Lease::release`], closed (HTTP/1) or let go of when dropped.
#[derive(Debug)]
pub enum Lease {
    /// The whole connection.
    One(Box<Lease1>),
    /// A stream of it.
    Many(Lease2),
}

/// An HTTP/1 connection, for one request.
#[derive(Debug)]
pub struct Lease1 {
    pub(super) connection: Option<Connection1>,
    pub(super) pool: Weak<EndpointPool>,
}

/// A stream of an HTTP/2 connection.
#[derive(Debug)]
pub struct Lease2(Rc<Connection2>);

/// Begins HTTP/1.
pub(super) async fn begin1(
    wire: Wire,
    open: Open,
    life: Life,
    tasks: &TaskTracker,
    pool: &Rc<EndpointPool>,
    gone: &CancellationToken,
) -> Result<Connection1, NoConnection> {
    let local = wire.local_addr();
    let (sender, driver) = client::http1(HttpIo::client_until(wire, gone)).await.map_err(broken)?;
    let switch = Switch::default();
    let (asked, pool, place) = (switch.clone(), Rc::downgrade(pool), open.place());
    tasks.spawn_local(async move {
        match driver.without_shutdown().await {
            Ok(parts) => {
                let asked = asked.borrow_mut().take();
                match asked {
                    // Who asked may have gone: then the wire is dropped, and reset.
                    Some(asked) => drop(asked.send(parts.io.into_raw(parts.read_buf))),
                    None => parts.io.close().await,
                }
            }
            Err(error) => tracing::debug!(%error, "HTTP/1 connection ended"),
        }
        drop(place);
        if let Some(pool) = pool.upgrade() {
            pool.forget_closed();
        }
    });
    let now = Instant::now();
    Ok(Connection1 { sender, switch, local, served: 0, life, born: now, since: now, _open: open })
}

/// Begins HTTP/2.
pub(super) async fn begin2(
    wire: Wire,
    open: Open,
    life: Life,
    tasks: &TaskTracker,
    (ended, gone): (&Rc<Notify>, &CancellationToken),
) -> Result<Rc<Connection2>, NoConnection> {
    let local = wire.local_addr();
    let sender =
        client::http2(HttpIo::client_until(wire, gone), tasks, open.place()).await.map_err(broken)?;
    Ok(Rc::new(Connection2 {
        sender,
        local,
        streams: Cell::new(0),
        served: Cell::new(0),
        life,
        born: Instant::now(),
        since: Cell::new(Instant::now()),
        retired: Cell::new(false),
        ended: ended.clone(),
        _open: open,
    }))
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn broken(error: hyper::Error) -> NoConnection {
    NoConnection::Failed(Failure::new(Reason::Connect, &error))
}

impl Lease {
    /// What makes the request on it.
    pub fn sender(&mut self) -> Option<Sender<'_>> {
        match self {
            Self::One(lease) => {
                lease.connection.as_mut().map(|connection| Sender::Http1(&mut connection.sender))
            }
            Self::Many(lease) => Some(Sender::Http2(lease.0.sender.clone())),
        }
    }

    /// Our address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::One(lease) => lease.connection.as_ref().and_then(|connection| connection.local),
            Self::Many(lease) => lease.0.local,
        }
    }

    /// Asks for the wire, should the answer switch protocols.
    pub fn ask_wire(&self) -> Option<oneshot::Receiver<(Wire, Bytes)>> {
        let Self::One(lease) = self else { return None };
        let (sender, receiver) = oneshot::channel();
        *lease.connection.as_ref()?.switch.borrow_mut() = Some(sender);
        Some(receiver)
    }

    /// Both bodies have ended well: somebody else may have it.
    pub fn release(self) {
        let Self::One(mut lease) = self else { return };
        let (connection, pool) = (lease.connection.take(), lease.pool.upgrade());
        if let (Some(connection), Some(pool)) = (connection, pool) {
            drop(connection.switch.borrow_mut().take());
            pool.take_back(connection);
        }
    }
}

/// What makes a request.
#[derive(Debug)]
pub enum Sender<'a> {
    /// On the whole connection.
    Http1(&'a mut Http1),
    /// On a stream of it.
    Http2(Http2),
}

impl Lease2 {
    pub(super) fn take(connection: Rc<Connection2>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        connection.served.set(connection.served.get().saturating_add(1));
        Self(connection)
    }
}

impl Drop for Lease2 {
    fn drop(&mut self) {
        let streams = self.0.streams.get() - 1;
        self.0.streams.set(streams);
        self.0.ended.notify_one();
        if streams == 0 {
            self.0.since.set(Instant::now());
        }
    }
}

impl Drop for Lease1 {
    fn drop(&mut self) {
        // Not released: it is closed, and its place is free.
        let Some(connection) = self.connection.take() else { return };
        drop(connection);
    }
}
