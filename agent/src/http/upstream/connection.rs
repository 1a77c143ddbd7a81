//! One open connection to an endpoint, and its use for one request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Instant;

use bytes::Bytes;
use heddle_core::upstream::BudgetGuard;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pool::{EndpointPool, NoConnection};
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
    pub(super) most: u32,
    pub(super) since: Instant,
    _open: Open,
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub struct Connection2 {
    pub(super) sender: Http2,
    local: Option<SocketAddr>,
    pub(super) streams: Cell<u32>,
    pub(super) served: Cell<u32>,
    pub(super) most: u32,
    pub(super) since: Cell<Instant>,
    pub(super) retired: Cell<bool>,
    _open: Open,
}

/// A connection counts while this lives.
#[derive(Debug)]
pub(super) struct Open {
    open: Rc<Cell<usize>>,
    _budget: Option<BudgetGuard>,
}

impl Open {
    pub(super) fn count(open: &Rc<Cell<usize>>, budget: Option<BudgetGuard>) -> Self {
        open.set(open.get() + 1);
        Self { open: open.clone(), _budget: budget }
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
    most: u32,
    tasks: &TaskTracker,
    pool: &Rc<EndpointPool>,
    gone: &CancellationToken,
) -> Result<Connection1, NoConnection> {
    let local = wire.local_addr();
    let (sender, driver) = client::http1(HttpIo::client_until(wire, gone)).await.map_err(broken)?;
    let switch = Switch::default();
    let (asked, pool) = (switch.clone(), Rc::downgrade(pool));
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
        if let Some(pool) = pool.upgrade() {
            pool.forget_closed();
        }
    });
    Ok(Connection1 { sender, switch, local, served: 0, most, since: Instant::now(), _open: open })
}

/// Begins HTTP/2.
pub(super) async fn begin2(
    wire: Wire,
    open: Open,
    most: u32,
    tasks: &TaskTracker,
    gone: &CancellationToken,
) -> Result<Rc<Connection2>, NoConnection> {
    let local = wire.local_addr();
    let sender = client::http2(HttpIo::client_until(wire, gone), tasks).await.map_err(broken)?;
    Ok(Rc::new(Connection2 {
        sender,
        local,
        streams: Cell::new(0),
        served: Cell::new(0),
        most,
        since: Cell::new(Instant::now()),
        retired: Cell::new(false),
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
        let served = connection.served.get().saturating_add(1);
        connection.served.set(served);
        if connection.most > 0 && served >= connection.most {
            connection.retired.set(true);
        }
        Self(connection)
    }
}

impl Drop for Lease2 {
    fn drop(&mut self) {
        let streams = self.0.streams.get() - 1;
        self.0.streams.set(streams);
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
        if let Some(pool) = self.pool.upgrade() {
            pool.call_next();
        }
    }
}
