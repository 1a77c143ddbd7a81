//! Open connections to one endpoint: HTTP/1 connections one request at a time, HTTP/2 connections shared.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use heddle_core::upstream::{Budget, BudgetGuard, Endpoint};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::http::client::{self, Http1, Http2};
use crate::http::io::{HttpIo, Wire};
use crate::telemetry::{Failure, Reason};

/// Streams on one HTTP/2 connection, unless the cluster's policy has another bound. Envoy's is the peer's; 100 is what
/// most servers offer, and another connection costs less than a wait.
const STREAMS: u32 = 100;

/// How long one waits to be called before it looks by itself.
const RECALL: Duration = Duration::from_secs(1);

/// What is spoken to the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speak {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What bounds a pool; of the cluster.
#[derive(Clone, Debug)]
pub struct PoolBounds {
    /// The circuit breaker.
    pub budget: Arc<Budget>,
    /// Requests that one connection may serve; 0: no bound.
    pub requests: u32,
    /// Streams at once; `None`: the default.
    pub streams: Option<u32>,
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub enum NoConnection {
    /// The circuit breaker is open.
    Overflow,
    /// It could not be made.
    Failed(Failure),
}

/// The connections to one endpoint.
pub struct EndpointPool {
    endpoint: Arc<Endpoint>,
    idle: RefCell<Vec<Connection1>>,
    waiting: RefCell<VecDeque<oneshot::Sender<Option<Connection1>>>>,
    shared: RefCell<Vec<Rc<Connection2>>>,
    opening: RefCell<Option<Opening>>,
    open: Rc<Cell<usize>>,
    closed: Cell<bool>,
}

type Opening = Shared<LocalBoxFuture<'static, Result<(), NoConnection>>>;
type Switch = Rc<RefCell<Option<oneshot::Sender<(Wire, Bytes)>>>>;

/// An HTTP/1 connection.
#[derive(Debug)]
pub struct Connection1 {
    sender: Http1,
    switch: Switch,
    local: Option<SocketAddr>,
    served: u32,
    most: u32,
    since: Instant,
    _open: Open,
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub struct Connection2 {
    sender: Http2,
    local: Option<SocketAddr>,
    streams: Cell<u32>,
    served: Cell<u32>,
    most: u32,
    since: Cell<Instant>,
    retired: Cell<bool>,
    _open: Open,
}

/// A connection counts while this lives.
#[derive(Debug)]
struct Open {
    open: Rc<Cell<usize>>,
    _budget: Option<BudgetGuard>,
}

impl Open {
    fn count(open: &Rc<Cell<usize>>, budget: Option<BudgetGuard>) -> Self {
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
    connection: Option<Connection1>,
    pool: Weak<EndpointPool>,
}

/// A stream of an HTTP/2 connection.
#[derive(Debug)]
pub struct Lease2(Rc<Connection2>);

impl EndpointPool {
    /// No connection yet.
    pub fn new(endpoint: Arc<Endpoint>) -> Rc<Self> {
        Rc::new(Self {
            endpoint,
            idle: RefCell::default(),
            waiting: RefCell::default(),
            shared: RefCell::default(),
            opening: RefCell::default(),
            open: Rc::default(),
            closed: Cell::new(false),
        })
    }

    /// Whether its connections are as good for this endpoint: the same identity, reached the same way.
    pub fn serves(&self, endpoint: &Endpoint) -> bool {
        let identity =
            |endpoint: &Endpoint| endpoint.workload.as_ref().map(|workload| workload.identity.clone());
        self.endpoint.address == endpoint.address
            && self.endpoint.transport == endpoint.transport
            && identity(&self.endpoint) == identity(endpoint)
    }

    /// Where they lead.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// A connection for one request: an idle one, or one that `connect` opens, or the next that comes back.
    ///
    /// # Errors
    /// None may be opened, or none could be.
    pub async fn lease<F>(
        self: &Rc<Self>,
        speak: Speak,
        bounds: &PoolBounds,
        tasks: &TaskTracker,
        connect: impl Fn() -> F,
    ) -> Result<Lease, NoConnection>
    where
        F: Future<Output = Result<Wire, Failure>> + 'static,
    {
        match speak {
            Speak::Http1 => self.lease1(bounds, tasks, connect).await,
            Speak::Http2 => self.lease2(bounds, tasks, connect).await,
        }
    }

    async fn lease1<F>(
        self: &Rc<Self>,
        bounds: &PoolBounds,
        tasks: &TaskTracker,
        connect: impl Fn() -> F,
    ) -> Result<Lease, NoConnection>
    where
        F: Future<Output = Result<Wire, Failure>>,
    {
        loop {
            let idle = self.idle.borrow_mut().pop();
            if let Some(mut connection) = idle {
                if connection.sender.ready().await.is_ok() {
                    return Ok(self.lend(connection));
                }
                continue;
            }
            // Envoy: a pool without any connection may open one, whatever the bound says.
            let budget = bounds.budget.try_connection();
            if budget.is_some() || self.open.get() == 0 {
                let open = Open::count(&self.open, budget);
                let pending = bounds.budget.try_pending().ok_or(NoConnection::Overflow)?;
                let wire = connect().await.map_err(NoConnection::Failed)?;
                drop(pending);
                let connection = begin1(wire, open, bounds.requests, tasks, self).await?;
                return Ok(self.lend(connection));
            }
            let pending = bounds.budget.try_pending().ok_or(NoConnection::Overflow)?;
            let (sender, receiver) = oneshot::channel();
            self.waiting.borrow_mut().push_back(sender);
            // Whoever was called and went away may have been the only one to be called: look again now and then.
            let turn = timeout(RECALL, receiver).await;
            drop(pending);
            if let Ok(Ok(Some(mut connection))) = turn
                && connection.sender.ready().await.is_ok()
            {
                return Ok(self.lend(connection));
            }
        }
    }

    /// Puts a connection that is open already among the idle ones.
    pub async fn adopt(self: &Rc<Self>, wire: Wire, bounds: &PoolBounds, tasks: &TaskTracker, speak: Speak) {
        let open = Open::count(&self.open, bounds.budget.try_connection());
        match speak {
            Speak::Http1 => {
                if let Ok(connection) = begin1(wire, open, bounds.requests, tasks, self).await {
                    self.idle.borrow_mut().push(connection);
                }
            }
            Speak::Http2 => {
                if let Ok(connection) = begin2(wire, open, bounds.requests, tasks).await {
                    self.shared.borrow_mut().push(connection);
                }
            }
        }
    }

    fn lend(self: &Rc<Self>, mut connection: Connection1) -> Lease {
        connection.served += 1;
        Lease::One(Box::new(Lease1 { connection: Some(connection), pool: Rc::downgrade(self) }))
    }

    async fn lease2<F>(
        self: &Rc<Self>,
        bounds: &PoolBounds,
        tasks: &TaskTracker,
        connect: impl Fn() -> F,
    ) -> Result<Lease, NoConnection>
    where
        F: Future<Output = Result<Wire, Failure>> + 'static,
    {
        let most = bounds.streams.unwrap_or(STREAMS);
        loop {
            let found = {
                let mut shared = self.shared.borrow_mut();
                shared.retain(|connection| !connection.sender.is_closed() && !connection.retired.get());
                shared.iter().find(|connection| connection.streams.get() < most).cloned()
            };
            if let Some(connection) = found {
                return Ok(Lease::Many(Lease2::take(connection)));
            }
            let opening = self.opening.borrow().clone();
            let opening = match opening {
                Some(opening) => opening,
                None => {
                    let budget = bounds.budget.try_connection();
                    if budget.is_none() && self.open.get() > 0 {
                        // As many as there may be: their streams wait in line.
                        let least =
                            self.shared.borrow().iter().min_by_key(|known| known.streams.get()).cloned();
                        let connection = least.ok_or(NoConnection::Overflow)?;
                        return Ok(Lease::Many(Lease2::take(connection)));
                    }
                    let open = Open::count(&self.open, budget);
                    self.open2(open, bounds.requests, tasks.clone(), connect())
                }
            };
            let pending = bounds.budget.try_pending().ok_or(NoConnection::Overflow)?;
            opening.await?;
            drop(pending);
        }
    }

    /// Opens the one connection that everybody waits for; it enters the pool by itself.
    fn open2<F>(self: &Rc<Self>, open: Open, requests: u32, tasks: TaskTracker, connect: F) -> Opening
    where
        F: Future<Output = Result<Wire, Failure>> + 'static,
    {
        let (weak, connect) = (Rc::downgrade(self), Box::pin(connect));
        let opening = async move {
            let connected = match connect.await {
                Ok(wire) => begin2(wire, open, requests, &tasks).await,
                Err(failure) => Err(NoConnection::Failed(failure)),
            };
            let Some(pool) = weak.upgrade() else { return connected.map(drop) };
            *pool.opening.borrow_mut() = None;
            pool.shared.borrow_mut().push(connected?);
            Ok(())
        };
        let opening = opening.boxed_local().shared();
        *self.opening.borrow_mut() = Some(opening.clone());
        opening
    }

    /// Takes a connection back, unless it has served enough.
    fn take_back(&self, connection: Connection1) {
        let spent = connection.most > 0 && connection.served >= connection.most;
        let mut next = (!spent && !self.closed.get() && !connection.sender.is_closed()).then_some(connection);
        if let Some(connection) = &mut next {
            connection.since = Instant::now();
        }
        loop {
            let waiting = self.waiting.borrow_mut().pop_front();
            match (waiting, next.take()) {
                // Without a connection, somebody else may open one now.
                (Some(waiting), offer) => match waiting.send(offer) {
                    Ok(()) => return,
                    Err(refused) => next = refused,
                },
                (None, Some(connection)) => return self.idle.borrow_mut().push(connection),
                (None, None) => return,
            }
        }
    }

    /// A place is free: the first that still waits may open a connection.
    fn call_next(&self) {
        loop {
            let waiting = self.waiting.borrow_mut().pop_front();
            let Some(waiting) = waiting else { return };
            if waiting.send(None).is_ok() {
                return;
            }
        }
    }

    /// Lets go of connections that were idle for too long.
    pub(super) fn sweep(&self, now: Instant, idle: Duration) {
        self.idle.borrow_mut().retain(|connection| {
            !connection.sender.is_closed() && now.duration_since(connection.since) < idle
        });
        self.shared.borrow_mut().retain(|connection| {
            let waited = connection.streams.get() == 0 && now.duration_since(connection.since.get()) >= idle;
            !connection.sender.is_closed() && !waited
        });
    }

    /// No request is under way.
    pub(super) fn is_idle(&self) -> bool {
        let idle = self.idle.borrow().len();
        let quiet = self.shared.borrow().iter().filter(|connection| connection.streams.get() == 0).count();
        self.open.get() == idle + quiet
    }

    /// The endpoint is gone: idle connections close now, the others with their last request.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }
}

async fn begin1(
    wire: Wire,
    open: Open,
    most: u32,
    tasks: &TaskTracker,
    pool: &Rc<EndpointPool>,
) -> Result<Connection1, NoConnection> {
    let local = wire.local_addr();
    let (sender, driver) = client::http1(HttpIo::client(wire)).await.map_err(broken)?;
    let switch = Switch::default();
    let (asked, pool) = (switch.clone(), Rc::downgrade(pool));
    tasks.spawn_local(async move {
        match driver.without_shutdown().await {
            Ok(parts) => match asked.borrow_mut().take() {
                // Who asked may have gone: then the wire is dropped, and reset.
                Some(asked) => drop(asked.send(parts.io.into_raw(parts.read_buf))),
                None => parts.io.close().await,
            },
            Err(error) => tracing::debug!(%error, "HTTP/1 connection ended"),
        }
        if let Some(pool) = pool.upgrade() {
            pool.idle.borrow_mut().retain(|connection| !connection.sender.is_closed());
        }
    });
    Ok(Connection1 { sender, switch, local, served: 0, most, since: Instant::now(), _open: open })
}

async fn begin2(
    wire: Wire,
    open: Open,
    most: u32,
    tasks: &TaskTracker,
) -> Result<Rc<Connection2>, NoConnection> {
    let local = wire.local_addr();
    let sender = client::http2(HttpIo::client(wire), tasks).await.map_err(broken)?;
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
    fn take(connection: Rc<Connection2>) -> Self {
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

impl std::fmt::Debug for EndpointPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointPool").field("to", &self.endpoint.address).finish_non_exhaustive()
    }
}
