//! The live table: every connection of a worker, so that it can be listed, revoked and closed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use futures_util::FutureExt;
use heddle_core::authorize::{Flow, Peer, authorize, authorize_opaque, authorize_request};
use heddle_core::names::PodUid;
use heddle_core::policy::RequestFacts;
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::LocalWorkload;
use prometheus::IntGauge;

use crate::telemetry::{Direction, Failure, Meter, Reason};

/// One live connection, as the admin interface shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ConnectionView {
    /// UID of the local pod.
    pub pod: String,
    /// `outbound`, `inbound` (tunnel) or `plaintext`.
    pub direction: &'static str,
    /// The client, as far as it is known.
    pub client: SocketAddr,
    /// What was dialled.
    pub destination: SocketAddr,
    /// The verified identity of an inbound client.
    pub peer: Option<String>,
    /// Since it was accepted.
    pub age_seconds: u64,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
}

/// What a connection is registered as.
#[derive(Debug)]
pub struct Facts {
    /// The local pod.
    pub pod: PodUid,
    /// Which way.
    pub direction: Direction,
    /// The client.
    pub client: SocketAddr,
    /// What was dialled.
    pub destination: SocketAddr,
    /// For inbound connections: what is authorized again under every new configuration.
    pub flow: Option<Flow>,
}

/// What a connection carries, as far as that is known.
#[derive(Debug, Default)]
enum Carries {
    /// It was not seen yet.
    #[default]
    Unknown,
    /// Bytes.
    Opaque,
    /// Requests, each judged when it comes.
    Requests,
    /// What one request asked to switch to.
    Switched(Asked),
}

/// What a request was judged by, to be judged again.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: Box<str>,
    /// Its canonical path.
    pub path: Box<str>,
    /// Its authority.
    pub host: Box<str>,
}

#[derive(Debug)]
struct Entry {
    facts: Facts,
    carries: RefCell<Carries>,
    meter: Rc<Meter>,
    started: Instant,
    closing: Cell<Option<Reason>>,
    waker: RefCell<Option<Waker>>,
}

/// One worker's connections.
#[derive(Debug)]
pub struct LiveTable {
    entries: RefCell<HashMap<u64, Rc<Entry>>>,
    next: Cell<u64>,
    gauge: IntGauge,
}

impl LiveTable {
    /// An empty one, that shows its size in `gauge`.
    pub fn new(gauge: IntGauge) -> Rc<Self> {
        Rc::new(Self { entries: RefCell::default(), next: Cell::new(0), gauge })
    }

    /// Enters a connection. Do this first, authorize against the newest snapshot second, proceed third: then no
    /// revocation can fall between.
    pub fn register(self: &Rc<Self>, facts: Facts, meter: &Rc<Meter>) -> Registration {
        let id = self.next.replace(self.next.get() + 1);
        let entry = Rc::new(Entry {
            facts,
            carries: RefCell::default(),
            meter: meter.clone(),
            started: Instant::now(),
            closing: Cell::default(),
            waker: RefCell::default(),
        });
        self.entries.borrow_mut().insert(id, entry.clone());
        self.gauge.inc();
        Registration { table: self.clone(), entry, id }
    }

    /// Judges every inbound connection again and closes what is no longer allowed. Where a pod has left the mesh
    /// everybody may connect, and so those who are connected stay.
    pub fn revoke(&self, snapshot: &Snapshot) {
        for entry in self.entries.borrow().values() {
            let Some(flow) = &entry.facts.flow else { continue };
            let allowed = snapshot
                .local(&entry.facts.pod)
                .is_some_and(|local| !local.enrolled || entry.may_stay(snapshot, local, flow));
            if !allowed {
                entry.close(Reason::Revoked);
            }
        }
    }

    /// Closes every connection of a pod.
    pub fn close_pod(&self, pod: &PodUid) {
        for entry in self.entries.borrow().values().filter(|entry| entry.facts.pod == *pod) {
            entry.close(Reason::PodStopped);
        }
    }

    /// Closes every connection.
    pub fn close_all(&self, reason: Reason) {
        self.entries.borrow().values().for_each(|entry| entry.close(reason));
    }

    /// Brings the byte counters of long-lived connections up to date.
    pub fn report(&self) {
        self.entries.borrow().values().for_each(|entry| entry.meter.report());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    /// All of them, in no order.
    pub fn list(&self) -> Vec<ConnectionView> {
        self.entries.borrow().values().map(|entry| entry.view()).collect()
    }
}

impl Entry {
    fn may_stay(&self, snapshot: &Snapshot, local: &LocalWorkload, flow: &Flow) -> bool {
        match &*self.carries.borrow() {
            Carries::Unknown | Carries::Requests => authorize(snapshot, local, flow).is_ok(),
            Carries::Opaque => authorize_opaque(snapshot, local, flow).is_ok(),
            Carries::Switched(asked) => {
                let asked = RequestFacts { method: &asked.method, path: &asked.path, host: &asked.host };
                authorize_request(snapshot, local, flow, &asked).is_ok()
            }
        }
    }

    fn close(&self, reason: Reason) {
        self.closing.set(Some(reason));
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wake_by(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    fn view(&self) -> ConnectionView {
        let peer = self.facts.flow.as_ref().and_then(|flow| match &flow.peer {
            Peer::Verified(identity) => Some(identity.to_string()),
            Peer::Plaintext => None,
        });
        ConnectionView {
            pod: self.facts.pod.to_string(),
            direction: self.facts.direction.name(),
            client: self.facts.client,
            destination: self.facts.destination,
            peer,
            age_seconds: self.started.elapsed().as_secs(),
            received: self.meter.received.get(),
            sent: self.meter.sent.get(),
        }
    }
}

/// A place in the table, left when dropped.
#[derive(Debug)]
pub struct Registration {
    table: Rc<LiveTable>,
    entry: Rc<Entry>,
    id: u64,
}

impl Registration {
    /// It carries bytes. Say it before the newest snapshot is asked whether it may.
    pub fn is_opaque(&self) {
        *self.entry.carries.borrow_mut() = Carries::Opaque;
    }

    /// It carries requests, which are judged one by one.
    pub fn has_requests(&self) {
        *self.entry.carries.borrow_mut() = Carries::Requests;
    }

    /// A request that was permitted has switched it to another protocol.
    pub fn has_switched(&self, asked: Asked) {
        *self.entry.carries.borrow_mut() = Carries::Switched(asked);
    }

    /// Goes on with `work` until it ends or the connection is to be closed.
    ///
    /// # Errors
    /// What `work` failed with, or why it was closed.
    pub async fn run<T>(
        &self,
        mut work: impl Future<Output = Result<T, Failure>> + Unpin,
    ) -> Result<T, Failure> {
        poll_fn(|cx| {
            if let Some(reason) = self.entry.closing.get() {
                return Poll::Ready(Err(reason.into()));
            }
            let polled = work.poll_unpin(cx);
            if polled.is_pending() {
                self.entry.wake_by(cx.waker());
            }
            polled
        })
        .await
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.table.entries.borrow_mut().remove(&self.id);
        self.table.gauge.dec();
    }
}
