//! The answers: kept for as long as a cluster wishes for them, and looked up again before they are too old.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use heddle_core::names::PodUid;
use heddle_core::upstream::Resolved;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::resolver::{Found, Lookup, LookupError, PodLookup};
use crate::pod::{NetnsCookie, Pod};

/// For one look, with all its search domains and servers.
const LOOK: Duration = Duration::from_secs(30);
/// For the first answer, while a client waits.
const FIRST: Duration = Duration::from_secs(5);
/// Names of one pod.
const NAMES: usize = 1024;
/// Addresses of one name.
const ADDRESSES: usize = 256;

/// When names are looked up again.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// After the TTL of the answer, but neither sooner than this
    pub soonest: Duration,
    /// nor later than this.
    pub latest: Duration,
    /// After a look that failed; after twice that the next time, and so on
    pub again: Duration,
    /// up to this.
    pub again_at_most: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            soonest: Duration::from_secs(1),
            latest: Duration::from_secs(300),
            again: Duration::from_secs(1),
            again_at_most: Duration::from_secs(30),
        }
    }
}

/// Of all pods.
#[derive(Debug)]
pub struct Names {
    lookup: Arc<dyn Lookup>,
    pace: Pace,
    tasks: Handle,
    pods: Mutex<HashMap<NetnsCookie, (PodUid, Weak<PodNames>)>>,
}

/// Of one pod, for all workers.
#[derive(Debug)]
pub struct PodNames {
    lookup: Box<dyn PodLookup>,
    pace: Pace,
    tasks: Handle,
    answers: ArcSwap<Resolved>,
    version: AtomicU64,
    changed: Notify,
    wishes: Mutex<HashMap<Box<str>, Weak<Wish>>>,
}

/// A name is looked up for as long as somebody holds this.
#[derive(Debug)]
pub struct Wish {
    _ended: DropGuard,
}

impl Names {
    /// None yet. Looks run on `tasks`.
    pub fn new(lookup: Arc<dyn Lookup>, pace: Pace, tasks: Handle) -> Arc<Self> {
        Arc::new(Self { lookup, pace, tasks, pods: Mutex::default() })
    }

    /// Those of a pod.
    pub fn of(&self, pod: &Arc<Pod>) -> Arc<PodNames> {
        let mut pods = lock(&self.pods);
        if let Some(names) = pods.get(&pod.cookie).and_then(|(_, names)| names.upgrade()) {
            return names;
        }
        pods.retain(|_, (_, names)| names.strong_count() > 0);
        let names = Arc::new(PodNames {
            lookup: self.lookup.of(pod),
            pace: self.pace,
            tasks: self.tasks.clone(),
            answers: ArcSwap::default(),
            version: AtomicU64::new(0),
            changed: Notify::new(),
            wishes: Mutex::default(),
        });
        pods.insert(pod.cookie, (pod.uid.clone(), Arc::downgrade(&names)));
        names
    }

    /// What is known for a pod now; nothing that nobody has wished for.
    pub fn known(&self, pod: &PodUid) -> Arc<Resolved> {
        let pods = lock(&self.pods);
        let names = pods.values().filter(|(uid, _)| uid == pod).find_map(|(_, names)| names.upgrade());
        names.map(|names| names.answers()).unwrap_or_default()
    }
}

impl PodNames {
    /// Which answers there are; another number, other answers.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The answers.
    pub fn answers(&self) -> Arc<Resolved> {
        self.answers.load_full()
    }

    /// Has these looked up from now on; those beyond the bound stay without an answer.
    pub fn want(self: &Arc<Self>, names: &[Box<str>]) -> Box<[Arc<Wish>]> {
        if names.is_empty() {
            return Box::default();
        }
        let mut wishes = lock(&self.wishes);
        names.iter().filter_map(|name| self.wish(&mut wishes, name)).collect()
    }

    fn wish(self: &Arc<Self>, wishes: &mut HashMap<Box<str>, Weak<Wish>>, name: &str) -> Option<Arc<Wish>> {
        if let Some(wish) = wishes.get(name).and_then(Weak::upgrade) {
            return Some(wish);
        }
        if wishes.len() >= NAMES {
            tracing::warn!(%name, most = NAMES, "one pod's requests depend on too many names; this one stays without addresses");
            return None;
        }
        let ended = CancellationToken::new();
        let wish = Arc::new(Wish { _ended: ended.clone().drop_guard() });
        wishes.insert(name.into(), Arc::downgrade(&wish));
        let keeper = Keeper { names: Arc::downgrade(self), wish: Arc::downgrade(&wish), name: name.into() };
        self.tasks.spawn(keeper.keep(ended));
        Some(wish)
    }

    /// Waits a bounded time until each has an answer, be it none.
    pub async fn ready(&self, names: &[Box<str>]) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                let answers = self.answers.load();
                if names.iter().all(|name| answers.contains_key(&**name)) {
                    return;
                }
                drop(answers);
                changed.await;
            }
        };
        drop(timeout(FIRST, waiting).await);
    }

    /// Whether there is an answer, be it none.
    fn knows(&self, name: &str) -> bool {
        self.answers.load().contains_key(name)
    }

    /// In the order of the answer: the first is what LOGICAL_DNS takes.
    fn learn(&self, name: &str, mut addresses: Vec<IpAddr>) {
        addresses.truncate(ADDRESSES);
        if self.answers.load().get(name).is_some_and(|known| **known == *addresses) {
            return;
        }
        let addresses: Arc<[IpAddr]> = addresses.into();
        self.change(|answers| drop(answers.insert(name.into(), addresses.clone())));
    }

    fn forget(&self, name: &str, wish: &Weak<Wish>) {
        let mut wishes = lock(&self.wishes);
        // Somebody may have wished for it again.
        if wishes.get(name).is_some_and(|known| known.ptr_eq(wish)) {
            wishes.remove(name);
            self.change(|answers| drop(answers.remove(name)));
        }
    }

    fn change(&self, mut change: impl FnMut(&mut Resolved)) {
        self.answers.rcu(|answers| {
            let mut answers = Resolved::clone(answers);
            change(&mut answers);
            answers
        });
        self.version.fetch_add(1, Ordering::Release);
        self.changed.notify_waiters();
    }
}

/// Keeps one name of one pod fresh.
struct Keeper {
    names: Weak<PodNames>,
    wish: Weak<Wish>,
    name: Box<str>,
}

impl Keeper {
    async fn keep(self, ended: CancellationToken) {
        let mut failures = 0;
        let looking = async {
            while let Some(rest) = self.look(&mut failures).await {
                sleep(rest).await;
            }
        };
        // Either way nobody needs the answer any more.
        let _ended = ended.run_until_cancelled(looking).await;
        if let Some(names) = self.names.upgrade() {
            names.forget(&self.name, &self.wish);
        }
    }

    /// Looks once; for how long the answer will do. `None`: the pod is gone.
    async fn look(&self, failures: &mut u32) -> Option<Duration> {
        let looking = self.names.upgrade()?.lookup.look(&self.name);
        let looked = timeout(LOOK, looking).await.unwrap_or(Err(LookupError::Late));
        let names = self.names.upgrade()?;
        match looked {
            Ok(Found { addresses, ttl }) => {
                *failures = 0;
                names.learn(&self.name, addresses);
                Some(ttl.clamp(names.pace.soonest, names.pace.latest))
            }
            // The last good answer stays in force.
            Err(error) => {
                tracing::debug!(name = %self.name, %error, "a name cannot be looked up");
                if !names.knows(&self.name) {
                    names.learn(&self.name, Vec::new());
                }
                let rest = names.pace.again * (1 << (*failures).min(8));
                *failures += 1;
                Some(rest.min(names.pace.again_at_most))
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
