//! Passive health: endpoints that fail are set aside for a while (Envoy's outlier detection).
//!
//! Counting is atomic and takes no lock; ejecting, taking back and changes of the set do. Nothing here has a clock: the
//! sweep that takes endpoints back runs when somebody comes by after its time. Source: Envoy `outlier_detection_impl.cc`.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::upstream::host::{Detail, Host, Seen, Signal};
use crate::upstream::model::OutlierDetection;

/// Endpoints that were dialled without being in the set: so many are remembered.
const STRANGERS: usize = 1_024;
/// So many of the latest events are kept.
const EVENTS: usize = 32;
/// Envoy's `max_ejection_time`.
const LONGEST: Duration = Duration::from_secs(300);
/// Times are at most ten years, so that sums of them exist.
const FOREVER: Duration = Duration::from_secs(315_360_000);
/// After a long silence so many missed sweeps are made up for; more change nothing.
const MISSED_SWEEPS: u32 = 64;

/// One ejection, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Who.
    pub address: SocketAddr,
    /// Since when.
    pub since: Instant,
    /// Until when; the first sweep after that takes it back.
    pub until: Instant,
    /// The how manieth in a row.
    pub times: u32,
    /// Envoy's name of what was detected: `consecutive_5xx`.
    pub cause: &'static str,
}

/// An endpoint was set aside, or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthEvent {
    /// Who.
    pub address: SocketAddr,
    /// When.
    pub at: Instant,
    /// Envoy's name of what was detected; `None`: taken back.
    pub cause: Option<&'static str>,
}

/// The health of a cluster's endpoints as one client identity sees them.
#[derive(Debug, Default)]
pub struct Health {
    /// Thresholds by [`Signal`]; 0: never.
    thresholds: [AtomicU32; 3],
    /// Somebody asked for outlier detection.
    enabled: AtomicBool,
    /// Local errors count apart.
    split: AtomicBool,
    /// Of endpoints set aside now.
    ejected: AtomicU32,
    /// Of failures that would have ejected beyond the percentage.
    overflow: AtomicU64,
    /// Changes whenever the set of usable endpoints does.
    version: AtomicU64,
    /// Nanoseconds after `epoch`; when the next sweep is due.
    next_sweep: AtomicU64,
    epoch: OnceLock<Instant>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    hosts: HashMap<SocketAddr, Arc<Host>>,
    members: usize,
    rules: Option<Rules>,
    /// When the last sweep was.
    swept: Option<Instant>,
    /// The latest last.
    events: VecDeque<HealthEvent>,
}

impl Table {
    fn note(&mut self, event: HealthEvent) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// Outlier detection with its defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rules {
    interval: Duration,
    base: Duration,
    max_percent: u32,
}

impl Health {
    /// How endpoints are judged from now on. `None` takes back whoever is set aside; else what is known of them stays.
    pub fn configure(&self, policy: Option<&OutlierDetection>) {
        let thresholds = policy.map_or([0; 3], |policy| {
            let local = policy.consecutive_local_origin.filter(|limit| *limit > 0).unwrap_or(5);
            [policy.consecutive_5xx.unwrap_or(5), policy.consecutive_gateway_errors.unwrap_or(0), local]
        });
        for (threshold, value) in self.thresholds.iter().zip(thresholds) {
            threshold.store(value, Ordering::Relaxed);
        }
        self.split.store(policy.is_some_and(|policy| policy.split_local_origin), Ordering::Relaxed);
        self.enabled.store(policy.is_some(), Ordering::Relaxed);
        let rules = policy.map(Rules::of);
        let mut table = self.table();
        if table.rules != rules {
            table.rules = rules;
            // The next visitor finds out when the next sweep is due.
            self.next_sweep.store(0, Ordering::Relaxed);
        }
        if rules.is_none() && self.ejected() > 0 {
            for host in table.hosts.values() {
                self.take_back(host);
            }
        }
    }

    /// The endpoints of the cluster from now on. Who stays keeps what is known of it, who left is forgotten.
    pub fn set_members(&self, members: impl IntoIterator<Item = SocketAddr>, now: Instant) -> Vec<Arc<Host>> {
        let mut table = self.table();
        let mut before = std::mem::take(&mut table.hosts);
        let mut hosts = Vec::new();
        for address in members {
            let host = match table.hosts.get(&address).cloned().or_else(|| before.remove(&address)) {
                Some(host) => host,
                None => Arc::new(Host::new(address, now)),
            };
            table.hosts.insert(address, Arc::clone(&host));
            hosts.push(host);
        }
        table.members = table.hosts.len();
        for (address, host) in before {
            // Another worker, or another pod of the identity, may still choose it: what is known of it stays as long.
            if Arc::strong_count(&host) > 1 && table.hosts.len() < table.members + STRANGERS {
                table.hosts.insert(address, host);
            } else {
                self.take_back(&host);
            }
        }
        hosts
    }

    /// What is known of an endpoint, be it of the set or not.
    pub fn host(&self, address: SocketAddr, now: Instant) -> Arc<Host> {
        let mut table = self.table();
        if let Some(host) = table.hosts.get(&address) {
            return Arc::clone(host);
        }
        if table.hosts.len() >= table.members + STRANGERS {
            table.hosts.retain(|_, host| Arc::strong_count(host) > 1 || host.is_ejected());
        }
        let host = Arc::new(Host::new(address, now));
        if table.hosts.len() < table.members + STRANGERS {
            table.hosts.insert(address, Arc::clone(&host));
        }
        host
    }

    /// Says what came of a try.
    pub fn report(&self, host: &Host, seen: Seen, now: Instant) {
        match seen {
            // Where somebody asked for outlier detection, that alone decides.
            Seen::ConnectFailed if !self.enabled.load(Ordering::Relaxed) => host.rest(true, now),
            Seen::ConnectFailed | Seen::Reset | Seen::Timeout => {}
            Seen::Status(_) | Seen::Grpc(..) | Seen::Connected => host.rest(false, now),
        }
        let split = self.split.load(Ordering::Relaxed);
        let reached = host.count(seen, split, &self.thresholds);
        for signal in reached.into_iter().flatten() {
            self.eject(host, signal, now);
        }
    }

    fn eject(&self, host: &Host, signal: Signal, now: Instant) {
        let mut table = self.table();
        let Some(rules) = table.rules else { return };
        let known =
            table.hosts.get(&host.address()).is_some_and(|known| std::ptr::eq(&raw const **known, host));
        if known && !host.is_ejected() {
            let ejected = self.ejected();
            let total = u32::try_from(table.hosts.len()).unwrap_or(u32::MAX);
            // One always may be set aside; more, as far as the percentage goes.
            if ejected == 0 || u64::from(ejected + 1) * 100 <= u64::from(rules.max_percent) * u64::from(total)
            {
                let mut detail = host.detail();
                detail.times += 1;
                detail.since = Some(now);
                detail.cause = signal.name();
                detail.term = rules.base.saturating_mul(detail.times).min(rules.base.max(LONGEST));
                drop(detail);
                host.set_ejected(true);
                table.note(HealthEvent { address: host.address(), at: now, cause: Some(signal.name()) });
                self.ejected.fetch_add(1, Ordering::Relaxed);
                self.version.fetch_add(1, Ordering::Release);
            } else {
                self.overflow.fetch_add(1, Ordering::Relaxed);
            }
        }
        host.reset(signal);
    }

    /// Takes back those whose time is over. Costs one comparison until the next sweep is due.
    pub fn sweep(&self, now: Instant) {
        let epoch = *self.epoch.get_or_init(|| now);
        let since = u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX);
        if since < self.next_sweep.load(Ordering::Relaxed) {
            return;
        }
        let mut table = self.table();
        let Some(rules) = table.rules else {
            self.next_sweep.store(u64::MAX, Ordering::Relaxed);
            return;
        };
        let mut last = table.swept.unwrap_or(now);
        for _ in 0..MISSED_SWEEPS {
            if last + rules.interval > now {
                break;
            }
            last += rules.interval;
            self.tick(&mut table, last);
        }
        if last + rules.interval <= now {
            last = now;
            self.tick(&mut table, now);
        }
        table.swept = Some(last);
        let next = (last + rules.interval).saturating_duration_since(epoch).as_nanos();
        self.next_sweep.store(u64::try_from(next).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn tick(&self, table: &mut Table, now: Instant) {
        let mut back = Vec::new();
        for host in table.hosts.values() {
            let over = |detail: &Detail| detail.since.is_some_and(|since| since + detail.term <= now);
            if host.is_ejected() {
                let done = over(&host.detail());
                if done {
                    self.take_back(host);
                    back.push(host.address());
                }
            } else {
                // Whoever comes back now is found in use by the next sweep: until then it is set aside for longer.
                let mut detail = host.detail();
                detail.times = detail.times.saturating_sub(1);
            }
        }
        back.into_iter().for_each(|address| table.note(HealthEvent { address, at: now, cause: None }));
    }

    fn take_back(&self, host: &Host) {
        if host.is_ejected() {
            host.set_ejected(false);
            Signal::ALL.into_iter().for_each(|signal| host.reset(signal));
            self.ejected.fetch_sub(1, Ordering::Relaxed);
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// How many are set aside.
    pub fn ejected(&self) -> u32 {
        self.ejected.load(Ordering::Relaxed)
    }

    /// How often more would have been set aside than may.
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }

    /// Changes whenever the set of usable endpoints does.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The latest ejections and returns, the oldest first.
    pub fn events(&self) -> Vec<HealthEvent> {
        self.table().events.iter().copied().collect()
    }

    /// Who is set aside now, by address.
    pub fn ejections(&self) -> Vec<Ejection> {
        let table = self.table();
        let mut all: Vec<Ejection> = table.hosts.values().filter_map(|host| host.ejection()).collect();
        all.sort_by_key(|ejection| ejection.address);
        all
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    fn of(policy: &OutlierDetection) -> Self {
        let or = |time: Option<Duration>, default| {
            time.filter(|time| !time.is_zero()).unwrap_or(Duration::from_secs(default)).min(FOREVER)
        };
        Self {
            interval: or(policy.interval, 10),
            base: or(policy.base_ejection_time, 30),
            // Istio cannot tell 0 from what is not written.
            max_percent: policy.max_ejection_percent.filter(|percent| *percent > 0).unwrap_or(10).min(100),
        }
    }
}
