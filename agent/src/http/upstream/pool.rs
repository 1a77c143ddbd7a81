//! Open connections to one endpoint: HTTP/1 connections one request at a time, HTTP/2 connections shared.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use heddle_core::upstream::{Endpoint, Place, Places, PoolId};
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::bounds::{NoConnection, PoolBounds, Speak};
use super::connection::{Connection1, Connection2, Lease, Lease1, Lease2, Life, Open, begin1, begin2};
use super::line;
use crate::http::io::{HttpIo, Wire};
use crate::telemetry::Failure;

/// Streams on one HTTP/2 connection, unless the cluster's policy has another bound. Envoy's is the peer's; 100 is what
/// most servers offer, and another connection costs less than a wait.
const STREAMS: u32 = 100;

/// What a pod sent in its last moments may still be on its way.
const LAST_BYTES: Duration = Duration::from_millis(500);

/// The connections to one endpoint.
pub struct EndpointPool {
    endpoint: Arc<Endpoint>,
    /// Of this pool and of others, of other workers too, to this endpoint.
    pub(super) places: Arc<Places>,
    idle: RefCell<Vec<Connection1>>,
    waiting: RefCell<VecDeque<oneshot::Sender<Connection1>>>,
    shared: RefCell<Vec<Rc<Connection2>>>,
    opening: RefCell<Option<Opening>>,
    open: Rc<Cell<usize>>,
    /// A stream of a shared connection.
    ended: Rc<Notify>,
    closed: Cell<bool>,
    /// Somebody listens whether its connections are wanted elsewhere.
    pub(super) listening: Cell<bool>,
    pub(super) over: CancellationToken,
    _over: DropGuard,
    /// Cancelled when nobody is there any more: connections break then.
    gone: CancellationToken,
}

type Opening = Shared<LocalBoxFuture<'static, Result<(), NoConnection>>>;
impl EndpointPool {
    /// No connection yet.
    pub fn new(endpoint: Arc<Endpoint>, places: Arc<Places>) -> Rc<Self> {
        let over = CancellationToken::new();
        Rc::new(Self {
            endpoint,
            places,
            listening: Cell::new(false),
            _over: over.clone().drop_guard(),
            over,
            idle: RefCell::default(),
            waiting: RefCell::default(),
            shared: RefCell::default(),
            opening: RefCell::default(),
            open: Rc::default(),
            ended: Rc::default(),
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
        let (mut turn, mut pending, mut back) = (None, None, None);
        loop {
            if let Some(connection) = self.pop_idle(bounds).await {
                return Ok(self.lend(connection));
            }
            let place = self.places.take(&bounds.budget, turn.as_ref());
            let waiting = match pending.take() {
                Some(waiting) => waiting,
                None => bounds.pending()?,
            };
            if let Some(place) = place {
                drop(turn);
                let open = self.count(place, bounds, tasks);
                let wire = connect().await.map_err(NoConnection::Failed)?;
                drop(waiting);
                let connection = begin1(wire, open, bounds.life(), tasks, self, &self.gone).await?;
                return Ok(self.lend(connection));
            }
            pending = Some(waiting);
            let turn = turn.get_or_insert_with(|| self.places.join(self.id()));
            let waiting = back.get_or_insert_with(|| self.wait());
            let Some(mut connection) = line::wait(turn, waiting).await else { continue };
            back = None;
            if connection.sender.ready().await.is_ok() {
                return Ok(self.lend(connection));
            }
        }
    }

    fn wait(&self) -> oneshot::Receiver<Connection1> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.borrow_mut();
        // Those who have found a place otherwise.
        while waiting.front().is_some_and(|first| first.is_closed()) {
            waiting.pop_front();
        }
        waiting.push_back(sender);
        receiver
    }

    async fn pop_idle(&self, bounds: &PoolBounds) -> Option<Connection1> {
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            let now = Instant::now();
            let stale = !bounds.idle.is_zero() && now.duration_since(connection.since) >= bounds.idle;
            if !stale && !connection.is_spent(now) && connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    /// From now on it is one of this pool's.
    fn count(self: &Rc<Self>, place: Place, bounds: &PoolBounds, tasks: &TaskTracker) -> Open {
        line::listen(self, &bounds.budget, tasks);
        Open::count(&self.open, place)
    }

    pub(super) fn id(&self) -> PoolId {
        std::ptr::from_ref(self).addr()
    }

    /// Puts a connection that is open already among the idle ones, unless there may be no more of them.
    pub async fn adopt(self: &Rc<Self>, wire: Wire, bounds: &PoolBounds, tasks: &TaskTracker, speak: Speak) {
        let Some(place) = self.places.take(&bounds.budget, None) else {
            tasks.spawn_local(HttpIo::client(wire).close());
            return;
        };
        let open = self.count(place, bounds, tasks);
        match speak {
            Speak::Http1 => {
                if let Ok(connection) = begin1(wire, open, bounds.life(), tasks, self, &self.gone).await {
                    self.idle.borrow_mut().push(connection);
                }
            }
            Speak::Http2 => {
                if let Ok(connection) =
                    begin2(wire, open, bounds.life(), tasks, (&self.ended, &self.gone)).await
                {
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
        let mut turn = None;
        let mut patience = None;
        loop {
            if let Some(connection) = self.find_shared(most) {
                return Ok(Lease::Many(Lease2::take(connection)));
            }
            let opening = self.opening.borrow().clone();
            let opening = match opening {
                Some(opening) => opening,
                None => {
                    let mut place = self.places.take(&bounds.budget, turn.as_ref());
                    if place.is_none()
                        && let Some(least) = self.least_busy()
                    {
                        if bounds.streams.is_some_and(|most| least.streams.get() >= most) {
                            let pending = bounds.pending()?;
                            self.ended.notified().await;
                            drop(pending);
                            continue;
                        }
                        // As many as there may be: the peer says how many streams each takes.
                        return Ok(Lease::Many(Lease2::take(least)));
                    }
                    // Streams of others may last for ever: waiting for them does not.
                    if patience.is_some_and(|until| until <= Instant::now()) {
                        place = place.or_else(|| Some(self.places.take_anyway()));
                    }
                    let Some(place) = place else {
                        let pending = bounds.pending()?;
                        patience = patience.or(Some(Instant::now() + bounds.within));
                        let turn = turn.get_or_insert_with(|| self.places.join(self.id()));
                        line::called(turn).await;
                        drop(pending);
                        continue;
                    };
                    let open = self.count(place, bounds, tasks);
                    self.open2(open, bounds.life(), tasks.clone(), connect())
                }
            };
            drop(turn.take());
            let pending = bounds.pending()?;
            opening.await?;
            drop(pending);
        }
    }

    /// A connection with room for another stream.
    fn find_shared(&self, most: u32) -> Option<Rc<Connection2>> {
        let (mut shared, now) = (self.shared.borrow_mut(), Instant::now());
        shared.retain(|connection| !connection.sender.is_closed() && !connection.is_spent(now));
        shared.iter().find(|connection| connection.streams.get() < most).cloned()
    }

    fn least_busy(&self) -> Option<Rc<Connection2>> {
        self.shared.borrow().iter().min_by_key(|known| known.streams.get()).cloned()
    }

    /// Opens the one connection that everybody waits for; it enters the pool by itself.
    fn open2<F>(self: &Rc<Self>, open: Open, life: Life, tasks: TaskTracker, connect: F) -> Opening
    where
        F: Future<Output = Result<Wire, Failure>> + 'static,
    {
        let (weak, connect) = (Rc::downgrade(self), Box::pin(connect));
        let (ended, gone) = (self.ended.clone(), self.gone.clone());
        let opening = async move {
            let connected = match connect.await {
                Ok(wire) => begin2(wire, open, life, &tasks, (&ended, &gone)).await,
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

    /// Takes a connection back, unless it has served enough, or somebody of another pool waits for its place.
    pub(super) fn take_back(&self, mut connection: Connection1) {
        connection.since = Instant::now();
        let spent = connection.is_spent(connection.since);
        let first = self.places.first();
        if spent
            || self.closed.get()
            || connection.sender.is_closed()
            || first.is_some_and(|pool| pool != self.id())
        {
            return;
        }
        loop {
            let waiting = self.waiting.borrow_mut().pop_front();
            let Some(waiting) = waiting else { return self.idle.borrow_mut().push(connection) };
            match waiting.send(connection) {
                Ok(()) => return,
                Err(refused) => connection = refused,
            }
        }
    }

    /// Others wait for connections to this endpoint, and there may be no more: lets go of as many that do nothing; what is
    /// shared takes no more requests, and goes with the last that it has.
    pub(super) fn yield_places(&self) {
        let wanted = self.places.strangers(self.id());
        let mut idle = self.idle.borrow_mut();
        let kept = idle.len().saturating_sub(wanted);
        let given = idle.split_off(kept);
        drop(idle);
        if given.len() < wanted {
            self.shared.borrow_mut().drain(..).for_each(|connection| connection.retired.set(true));
        }
    }

    /// Lets go of connections that were idle for too long.
    pub(super) fn sweep(&self, now: Instant, idle: Duration) {
        let long = |since: Instant| !idle.is_zero() && now.duration_since(since) >= idle;
        self.idle.borrow_mut().retain(|connection| {
            !connection.sender.is_closed() && !connection.is_spent(now) && !long(connection.since)
        });
        self.shared.borrow_mut().retain(|connection| {
            let waited = connection.streams.get() == 0 && long(connection.since.get());
            !connection.sender.is_closed() && !connection.is_spent(now) && !waited
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
