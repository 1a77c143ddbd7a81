//! When a request is sent again.

use std::time::Duration;

use crate::route::model::Retries;
use crate::store::MeshTraffic;

/// How one try ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// No connection: nothing was sent.
    ConnectFailed,
    /// The peer says that it has not looked at the request (`REFUSED_STREAM`, or a stream above the last of a `GOAWAY`).
    RefusedStream,
    /// Reset after something was sent, before the head of a response.
    Reset {
        /// Whether the whole request head had been written: what was not sent may be sent again whatever the method.
        sent: bool,
    },
    /// No response head within `perTryTimeout`.
    PerTryTimeout,
    /// A response.
    Response {
        /// HTTP status.
        status: u16,
        /// `grpc-status` in its head (a response of trailers only).
        grpc_status: Option<u32>,
        /// Whether it has `x-envoy-ratelimited`.
        ratelimited: bool,
    },
}

/// The retry settings of a rule, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Beyond the first try.
    pub attempts: u32,
    /// Deadline of each try.
    pub per_try_timeout: Option<Duration>,
    /// Endpoints that were tried are passed over.
    pub avoid_tried: bool,
    /// Words of `retryOn` that nobody knows.
    pub unknown: Vec<String>,
}

impl RetryPolicy {
    /// Of a rule; what it does not say is the mesh's, then Istio's.
    pub fn of(rule: Option<&Retries>, mesh: &MeshTraffic) -> Self {
        let of = rule.or(mesh.retries.as_ref());
        Self {
            attempts: of.map_or(2, |retries| retries.attempts),
            per_try_timeout: of.and_then(|retries| retries.per_try_timeout),
            avoid_tried: of.and_then(|retries| retries.ignore_previous_hosts).unwrap_or(true),
            unknown: Vec::new(),
        }
    }

    /// Whether to send it again after `retried` repetitions (0 after the first try).
    pub fn should_retry(&self, attempted: &Attempted, retried: u32) -> bool {
        retried < self.attempts
            && match attempted {
                Attempted::ConnectFailed | Attempted::RefusedStream | Attempted::Reset { sent: false } => {
                    true
                }
                Attempted::Response { status, .. } => *status == 503,
                Attempted::Reset { .. } | Attempted::PerTryTimeout => false,
            }
    }

    /// How long to wait before repetition number `retry` (from 1), by a random number.
    pub fn backoff(&self, retry: u32, random: u64) -> Duration {
        let _ = (retry, random);
        Duration::from_millis(25)
    }
}
