//! Open tunnel connections of one worker, by who speaks to whom: shared by streams, never by identities.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use h2::client::SendRequest;
use heddle_core::identity::Identity;
use heddle_core::names::PodUid;

use crate::pod::NetnsCookie;
use crate::telemetry::{Failure, Reason};
use crate::traffic::limits::STREAMS_PER_CONNECTION;

/// Connections opened in vain (each was full before we had our place) until a stream gives up.
const ATTEMPTS: usize = 32;

/// Whose connection it is. Two streams share one only if all of this is equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The source pod.
    pub pod: PodUid,
    /// And its incarnation.
    pub cookie: NetnsCookie,
    /// What it presents.
    pub source: Identity,
    /// The destination pod's tunnel port.
    pub address: SocketAddr,
    /// Who must be there.
    pub expected: Identity,
}

/// One open connection.
#[derive(Debug)]
pub struct Pooled {
    sender: SendRequest<Bytes>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    /// Takes no new streams from here on: its certificate ends soon.
    retire_at: Option<Instant>,
    closed: Cell<bool>,
}

impl Pooled {
    /// A fresh connection.
    pub fn new(sender: SendRequest<Bytes>, retire_at: Option<Instant>) -> Rc<Self> {
        Rc::new(Self {
            sender,
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            retire_at,
            closed: Cell::new(false),
        })
    }

    /// The connection has ended.
    pub fn close(&self) {
        self.closed.set(true);
    }

    fn takes_streams(&self, now: Instant) -> bool {
        let most = STREAMS_PER_CONNECTION.min(self.sender.current_max_send_streams());
        self.streams.get() < most && self.is_good(now)
    }

    fn is_good(&self, now: Instant) -> bool {
        !self.closed.get() && self.retire_at.is_none_or(|at| now < at)
    }
}

/// A place on a connection; given back when dropped.
#[derive(Debug)]
pub struct Lease {
    connection: Rc<Pooled>,
    sender: Option<SendRequest<Bytes>>,
}

impl Lease {
    fn take(connection: &Rc<Pooled>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self { connection: connection.clone(), sender: Some(connection.sender.clone()) }
    }

    /// What opens the stream; once.
    pub fn sender(&mut self) -> SendRequest<Bytes> {
        self.sender.take().unwrap_or_else(|| self.connection.sender.clone())
    }

    /// The connection turned out to be broken: nobody else gets it.
    pub fn spoil(&self) {
        self.connection.close();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let streams = self.connection.streams.get() - 1;
        self.connection.streams.set(streams);
        if streams == 0 {
            self.connection.idle_since.set(Instant::now());
        }
    }
}

type Connecting = Shared<LocalBoxFuture<'static, Result<(), Failure>>>;

#[derive(Default)]
struct Slot {
    open: RefCell<Vec<Rc<Pooled>>>,
    connecting: RefCell<Option<Connecting>>,
}

/// One worker's connections.
#[derive(Default)]
pub struct Pool {
    slots: RefCell<HashMap<PoolKey, Rc<Slot>>>,
}

impl Pool {
    /// A place on a connection of `key`: an open one, or the one that is being opened, or one that `connect` opens.
    /// Whoever comes while a connection is being opened waits for that one: one handshake serves all.
    ///
    /// # Errors
    /// The connection that was waited for could not be opened.
    pub async fn lease<F>(&self, key: &PoolKey, connect: impl Fn() -> F) -> Result<Lease, Failure>
    where
        F: Future<Output = Result<Rc<Pooled>, Failure>> + 'static,
    {
        let slot = self.slot(key);
        for _ in 0..ATTEMPTS {
            let now = Instant::now();
            if let Some(open) = slot.open.borrow().iter().find(|open| open.takes_streams(now)) {
                return Ok(Lease::take(open));
            }
            let connecting = slot.connecting.borrow().clone();
            let connecting = connecting.unwrap_or_else(|| begin(&slot, connect()));
            connecting.await?;
        }
        Err(Reason::TunnelTimeout.into())
    }

    fn slot(&self, key: &PoolKey) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.get(key) {
            return slot.clone();
        }
        slots.entry(key.clone()).or_default().clone()
    }

    /// Lets go of connections that were idle for too long, are about to expire, or have ended. Streams that are open
    /// on them go on; a connection closes by itself with its last stream.
    pub fn sweep(&self, idle: Duration) {
        let now = Instant::now();
        self.retain(|_, open| {
            let waited = open.streams.get() == 0 && now.duration_since(open.idle_since.get()) >= idle;
            open.is_good(now) && !waited
        });
    }

    /// Lets go of a pod's connections.
    pub fn forget_pod(&self, pod: &PodUid) {
        self.retain(|key, _| key.pod != *pod);
    }

    /// Lets go of connections to addresses that are nobody's any more.
    pub fn forget_gone(&self, is_there: impl Fn(IpAddr) -> bool) {
        self.retain(|key, _| is_there(key.address.ip()));
    }

    /// Lets go of everything.
    pub fn clear(&self) {
        self.retain(|_, _| false);
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.slots.borrow().values().map(|slot| slot.open.borrow().len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn retain(&self, mut keep: impl FnMut(&PoolKey, &Pooled) -> bool) {
        self.slots.borrow_mut().retain(|key, slot| {
            slot.open.borrow_mut().retain(|open| keep(key, open));
            !slot.open.borrow().is_empty() || slot.connecting.borrow().is_some()
        });
    }
}

/// Starts the one connect that everybody waits for; it enters its connection into the slot by itself.
fn begin<F>(slot: &Rc<Slot>, connect: F) -> Connecting
where
    F: Future<Output = Result<Rc<Pooled>, Failure>> + 'static,
{
    let (weak, connect) = (Rc::downgrade(slot), Box::pin(connect));
    let connecting = async move {
        let connected = connect.await;
        let Some(slot) = weak.upgrade() else { return connected.map(drop) };
        *slot.connecting.borrow_mut() = None;
        slot.open.borrow_mut().push(connected?);
        Ok(())
    };
    let connecting = connecting.boxed_local().shared();
    *slot.connecting.borrow_mut() = Some(connecting.clone());
    connecting
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("open", &self.len()).finish_non_exhaustive()
    }
}
