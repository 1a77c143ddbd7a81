//! The circuit breaker: how much one client identity may have open towards a cluster (Envoy's thresholds).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::upstream::model::TrafficPolicy;

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

/// The bounds. Istio's defaults: none, but for repetitions, which are bounded by a share of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// `maxConnections`.
    pub connections: u32,
    /// `http1MaxPendingRequests`.
    pub pending: u32,
    /// `http2MaxRequests`.
    pub requests: u32,
    /// `maxRetries`; `None`: 20 % of what is under way, at least 3 (Envoy's `retry_budget`).
    pub retries: Option<u32>,
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self { connections: u32::MAX, pending: u32::MAX, requests: u32::MAX, retries: None }
    }
}

impl BudgetLimits {
    /// As a cluster's policy has them.
    pub fn of(policy: &TrafficPolicy) -> Self {
        let default = Self::default();
        let Some(pool) = &policy.connection_pool else { return default };
        Self {
            connections: pool.max_connections.unwrap_or(default.connections),
            pending: pool.max_pending_requests.unwrap_or(default.pending),
            requests: pool.max_requests.unwrap_or(default.requests),
            retries: pool.max_retries,
        }
    }
}

/// What is open, and how often there was too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetCounts {
    /// Open now.
    pub open: [u32; 4],
    /// Refused so far.
    pub overflow: [u64; 4],
}

/// Counters and bounds of one (client identity, cluster).
#[derive(Debug, Default)]
pub struct Budget {
    open: [AtomicU32; 4],
    overflow: [AtomicU64; 4],
}

impl Budget {
    /// The bounds from now on; what is open stays.
    pub fn configure(&self, limits: BudgetLimits) {
        let _ = limits;
    }

    /// Before an upstream connection is opened; `None`: overflow, 503 `UO`.
    pub fn try_connection(self: &Arc<Self>) -> Option<BudgetGuard> {
        self.take(BudgetKind::Connections)
    }

    /// Before a request waits for a connection.
    pub fn try_pending(self: &Arc<Self>) -> Option<BudgetGuard> {
        self.take(BudgetKind::Pending)
    }

    /// Before a request is sent.
    pub fn try_request(self: &Arc<Self>) -> Option<BudgetGuard> {
        self.take(BudgetKind::Requests)
    }

    /// Before a request is sent again; `None`: the first answer stands, flagged `URX` or `UO`.
    pub fn try_retry(self: &Arc<Self>) -> Option<BudgetGuard> {
        self.take(BudgetKind::Retries)
    }

    /// What is open, and how often there was too much.
    pub fn counts(&self) -> BudgetCounts {
        BudgetCounts {
            open: self.open.each_ref().map(|count| count.load(Ordering::Relaxed)),
            overflow: self.overflow.each_ref().map(|count| count.load(Ordering::Relaxed)),
        }
    }

    fn take(self: &Arc<Self>, kind: BudgetKind) -> Option<BudgetGuard> {
        self.open[kind as usize].fetch_add(1, Ordering::Relaxed);
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
