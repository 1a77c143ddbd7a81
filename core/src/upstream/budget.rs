//! The circuit breaker: how much one client identity may have open towards a cluster (Envoy's thresholds).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::upstream::model::{ConnectionPool, TrafficPolicy};
use share::Share;

mod share;

/// `retries` where the share counts instead of a number.
const BY_SHARE: u32 = u32::MAX;

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BudgetKind {
    /// Upstream connections.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests under way.
    Requests,
    /// Repetitions under way.
    Retries,
}

impl BudgetKind {
    /// All of them, in the order of [`BudgetCounts`].
    pub const ALL: [Self; 4] = [Self::Connections, Self::Pending, Self::Requests, Self::Retries];
}

/// The bounds. Istio's defaults are none (`getDefaultCircuitBreakerThresholds`); only repetitions are bounded all the
/// same, by a share of the requests (`share.rs`), so that retries never multiply an overload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// `maxConnections`.
    pub connections: u32,
    /// `http1MaxPendingRequests`.
    pub pending: u32,
    /// `http2MaxRequests`.
    pub requests: u32,
    /// `maxRetries`; `None`: 20 % of the requests of the last ten seconds, and ten a second.
    pub retries: Option<u32>,
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self { connections: u32::MAX, pending: u32::MAX, requests: u32::MAX, retries: None }
    }
}

impl BudgetLimits {
    /// As a cluster's policy has them. Zero is not a bound: Istio cannot tell it from what is not written.
    pub fn of(policy: &TrafficPolicy) -> Self {
        let pool = policy.connection_pool.as_ref();
        let limit =
            |field: fn(&ConnectionPool) -> Option<u32>| pool.and_then(field).filter(|limit| *limit > 0);
        Self {
            connections: limit(|pool| pool.max_connections).unwrap_or(u32::MAX),
            pending: limit(|pool| pool.max_pending_requests).unwrap_or(u32::MAX),
            requests: limit(|pool| pool.max_requests).unwrap_or(u32::MAX),
            retries: limit(|pool| pool.max_retries),
        }
    }
}

/// What is open, and how often there was too much; by [`BudgetKind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetCounts {
    /// Open now.
    pub open: [u32; 4],
    /// Refused so far.
    pub overflow: [u64; 4],
}

/// Counters and bounds of one (client identity, cluster).
#[derive(Debug)]
pub struct Budget {
    limits: [AtomicU32; 4],
    open: [AtomicU32; 4],
    overflow: [AtomicU64; 4],
    share: Share,
}

impl Default for Budget {
    fn default() -> Self {
        let (limits, open, overflow) = Default::default();
        let budget = Self { limits, open, overflow, share: Share::default() };
        budget.configure(BudgetLimits::default());
        budget
    }
}

impl Budget {
    /// The bounds from now on; what is open stays.
    pub fn configure(&self, limits: BudgetLimits) {
        let retries = limits.retries.unwrap_or(BY_SHARE);
        let values = [limits.connections, limits.pending, limits.requests, retries];
        for (limit, value) in self.limits.iter().zip(values) {
            limit.store(value, Ordering::Relaxed);
        }
    }

    /// The bound on how much is open; [`u32::MAX`] where there is none, or a share counts instead.
    pub fn limit(&self, kind: BudgetKind) -> u32 {
        self.limits[kind as usize].load(Ordering::Relaxed)
    }

    /// How much is open.
    pub fn open(&self, kind: BudgetKind) -> u32 {
        self.open[kind as usize].load(Ordering::Relaxed)
    }

    /// Before an upstream connection is opened; `None`: overflow, 503 `UO`.
    pub fn try_connection(self: &Arc<Self>) -> Option<BudgetGuard> {
        self.take(BudgetKind::Connections)
    }

    /// Before a request waits for a connection; `None`: overflow, 503 `UO`.
    pub fn try_pending(self: &Arc<Self>) -> Option<BudgetGuard> {
        self.take(BudgetKind::Pending)
    }

    /// Before a request is sent; `None`: overflow, 503 `UO`.
    pub fn try_request(self: &Arc<Self>, now: Instant) -> Option<BudgetGuard> {
        let guard = self.take(BudgetKind::Requests)?;
        self.share.request(now);
        Some(guard)
    }

    /// Before a request is sent again; held until that try is over. `None`: the answer that is there stands.
    pub fn try_retry(self: &Arc<Self>, now: Instant) -> Option<BudgetGuard> {
        if self.limit(BudgetKind::Retries) == BY_SHARE && !self.share.retry(now) {
            self.overflow[BudgetKind::Retries as usize].fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.take(BudgetKind::Retries)
    }

    /// What is open, and how often there was too much.
    pub fn counts(&self) -> BudgetCounts {
        BudgetCounts {
            open: self.open.each_ref().map(|count| count.load(Ordering::Relaxed)),
            overflow: self.overflow.each_ref().map(|count| count.load(Ordering::Relaxed)),
        }
    }

    /// Whether nothing is open.
    pub fn is_idle(&self) -> bool {
        self.open.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    fn take(self: &Arc<Self>, kind: BudgetKind) -> Option<BudgetGuard> {
        let limit = self.limit(kind);
        let open = &self.open[kind as usize];
        let more = |count: u32| (count < limit).then(|| count + 1);
        if open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            self.overflow[kind as usize].fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(BudgetGuard { budget: Arc::clone(self), kind })
    }
}

/// A share of the budget, given back when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct BudgetGuard {
    budget: Arc<Budget>,
    kind: BudgetKind,
}

impl Drop for BudgetGuard {
    fn drop(&mut self) {
        self.budget.open[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
