//! Names that clusters depend on (ServiceEntry `DNS`), resolved for as long as somebody asks.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use heddle_core::upstream::Resolved;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Between two looks at a name: Envoy's default.
const AGAIN: Duration = Duration::from_secs(5);
/// A name that nobody has asked for this long is forgotten.
const UNUSED: Duration = Duration::from_secs(300);
/// For the first answer.
const FIRST: Duration = Duration::from_secs(5);

/// One worker's.
#[derive(Debug)]
pub struct Names {
    answers: RefCell<Resolved>,
    asked: RefCell<HashMap<Box<str>, Instant>>,
    version: Cell<u64>,
    changed: Notify,
    tasks: TaskTracker,
    draining: CancellationToken,
}

impl Names {
    /// None yet.
    pub fn new(tasks: TaskTracker, draining: CancellationToken) -> Rc<Self> {
        Rc::new(Self {
            answers: RefCell::default(),
            asked: RefCell::default(),
            version: Cell::new(0),
            changed: Notify::new(),
            tasks,
            draining,
        })
    }

    /// Which answers there are; another number, other answers.
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// The worker's tasks.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Shows them.
    pub fn with<T>(&self, look: impl FnOnce(&Resolved) -> T) -> T {
        look(&self.answers.borrow())
    }

    /// Somebody depends on these.
    pub fn want(self: &Rc<Self>, names: &[Box<str>]) {
        for name in names {
            let before = self.asked.borrow_mut().insert(name.clone(), Instant::now());
            if before.is_none() {
                self.tasks.spawn_local(keep(self.clone(), name.clone()));
            }
        }
    }

    /// Waits a bounded time until each has an answer, be it none.
    pub async fn ready(&self, names: &[Box<str>]) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if names.iter().all(|name| self.answers.borrow().contains_key(name)) {
                    return;
                }
                changed.await;
            }
        };
        drop(timeout(FIRST, waiting).await);
    }

    fn learn(&self, name: &str, mut addresses: Vec<IpAddr>) {
        addresses.sort_unstable();
        addresses.dedup();
        let mut answers = self.answers.borrow_mut();
        if answers.get(name) == Some(&addresses) {
            return;
        }
        answers.insert(name.into(), addresses);
        self.version.set(self.version.get() + 1);
        drop(answers);
        self.changed.notify_waiters();
    }

    fn is_unused(&self, name: &str) -> bool {
        self.asked.borrow().get(name).is_none_or(|asked| asked.elapsed() > UNUSED)
    }
}

/// Looks again and again. A look that fails leaves the last answer in force.
async fn keep(names: Rc<Names>, name: Box<str>) {
    loop {
        match tokio::net::lookup_host((&*name, 0)).await {
            Ok(found) => names.learn(&name, found.map(|address| address.ip()).collect()),
            Err(error) => {
                tracing::debug!(%name, %error, "a name does not resolve");
                if !names.answers.borrow().contains_key(&name) {
                    names.learn(&name, Vec::new());
                }
            }
        }
        tokio::select! {
            () = sleep(AGAIN) => {}
            () = names.draining.cancelled() => return,
        }
        if names.is_unused(&name) {
            names.asked.borrow_mut().remove(&name);
            names.answers.borrow_mut().remove(&name);
            return;
        }
    }
}
