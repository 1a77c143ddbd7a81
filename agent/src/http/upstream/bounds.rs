//! What bounds the connections to an endpoint.

use std::sync::Arc;
use std::time::Duration;

use heddle_core::upstream::{Budget, BudgetGuard};

use super::connection::Life;
use crate::telemetry::Failure;

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
    /// How old a connection may become.
    pub age: Option<Duration>,
    /// How long one may be idle; zero: for ever.
    pub idle: Duration,
    /// Until a connection must be there.
    pub within: Duration,
    /// Streams at once; `None`: the default.
    pub streams: Option<u32>,
}

impl PoolBounds {
    pub(super) fn life(&self) -> Life {
        Life { requests: self.requests, age: self.age }
    }

    pub(super) fn pending(&self) -> Result<BudgetGuard, NoConnection> {
        self.budget.try_pending().ok_or(NoConnection::Overflow)
    }
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub enum NoConnection {
    /// The circuit breaker is open.
    Overflow,
    /// It could not be made.
    Failed(Failure),
}
