//! Open connections to one endpoint: HTTP/1 connections one request at a time, HTTP/2 connections shared.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use heddle_core::upstream::{Budget, Endpoint};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection1, Connection2, Lease, Lease1, Lease2, Open, begin1, begin2};
use crate::http::io::Wire;
use crate::telemetry::Failure;

/// Streams on one HTTP/2 connection, unless the cluster's policy has another bound. Envoy's is the peer's; 100 is what
/// most servers offer, and another connection costs less than a wait.
const STREAMS: u32 = 100;

/// How long one waits to be called before it looks by itself.
const RECALL: Duration = Duration::from_secs(1);

/// What a pod sent in its last moments may still be on its way.
const LAST_BYTES: Duration = Duration::from_millis(500);

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
    /// Cancelled when nobody is there any more: connections break then.
    gone: CancellationToken,
}

type Opening = Shared<LocalBoxFuture<'static, Result<(), NoConnection>>>;
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
            gone: CancellationToken::new(),
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
                let connection = begin1(wire, open, bounds.requests, tasks, self, &self.gone).await?;
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
                if let Ok(connection) = begin1(wire, open, bounds.requests, tasks, self, &self.gone).await {
                    self.idle.borrow_mut().push(connection);
                }
            }
            Speak::Http2 => {
                if let Ok(connection) = begin2(wire, open, bounds.requests, tasks, &self.gone).await {
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
        let (weak, connect, gone) = (Rc::downgrade(self), Box::pin(connect), self.gone.clone());
        let opening = async move {
            let connected = match connect.await {
                Ok(wire) => begin2(wire, open, requests, &tasks, &gone).await,
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

    /// Connections that have ended are of no use.
    pub(super) fn forget_closed(&self) {
        self.idle.borrow_mut().retain(|connection| !connection.sender.is_closed());
    }

    /// Takes a connection back, unless it has served enough.
    pub(super) fn take_back(&self, connection: Connection1) {
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
    pub(super) fn call_next(&self) {
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

    /// Whether no connection is left.
    pub(super) fn is_empty(&self) -> bool {
        self.open.get() == 0
    }

    /// The pod is gone, and may have had no time to say so: what still waits for it does so in vain.
    pub(super) fn vanish(&self, tasks: &TaskTracker) {
        let gone = self.gone.clone();
        tasks.spawn_local(async move {
            sleep(LAST_BYTES).await;
            gone.cancel();
        });
    }

    /// The endpoint is gone: idle connections close now, the others with their last request.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }
}

impl std::fmt::Debug for EndpointPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointPool").field("to", &self.endpoint.address).finish_non_exhaustive()
    }
}
