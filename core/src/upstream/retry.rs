//! When a request is sent again.
//!
//! Conditions are Envoy's (`retry_on`, `retry_grpc_on`), written as Istio takes them; they ask nothing of the method,
//! because what they name is the operator's decision. What was never sent may be sent again whatever the method, and
//! `connect-failure`, which is among Istio's defaults, says so. Sources: Envoy `router_filter.rst`, `retry_state_impl.cc`;
//! Istio `networking/core/route/retry`.

use std::time::Duration;

use crate::route::model::Retries;
use crate::store::MeshTraffic;

/// Istio's default conditions.
const DEFAULT_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
/// Istio's default for what a destination's agent sends to its own application.
const INBOUND_ON: &str = "reset-before-request";
const DEFAULT_ATTEMPTS: u32 = 2;
const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);
/// A pause is at most so many times the base.
const LONGEST_BACKOFF: u32 = 10;

/// How one try ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// No connection: nothing was sent.
    ConnectFailed,
    /// The peer says that it has not looked at the request (`REFUSED_STREAM`, or a stream above the last of a `GOAWAY`).
    RefusedStream,
    /// The connection or the stream ended before the head of a response.
    Reset {
        /// Whether anything of the request may have reached the peer: if not, it may be sent again whatever the method.
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
    /// `retryRemoteLocalities`: after every second try it goes to other priorities than those that it was sent to.
    pub remote_localities: bool,
    /// Words of `retryOn` that nobody knows; they count for nothing.
    pub unknown: Vec<String>,
    ignore_previous_hosts: Option<bool>,
    conditions: u32,
    statuses: Vec<u16>,
    backoff: Duration,
    least_backoff: Duration,
    /// Nobody has written conditions: what RFC 9110 9.2.2 lets a client repeat of itself is repeated too.
    by_default: bool,
}

macro_rules! conditions {
    ($($name:ident = $bit:literal $word:literal;)*) => {
        $(const $name: u32 = 1 << $bit;)*
        /// Envoy's words.
        const WORDS: &[(&str, u32)] = &[$(($word, $name)),*];
    };
}

conditions! {
    SERVER_ERROR = 0 "5xx";
    GATEWAY_ERROR = 1 "gateway-error";
    RESET = 2 "reset";
    RESET_BEFORE_REQUEST = 3 "reset-before-request";
    CONNECT_FAILURE = 4 "connect-failure";
    REFUSED_STREAM = 5 "refused-stream";
    RETRIABLE_4XX = 6 "retriable-4xx";
    RETRIABLE_STATUS_CODES = 7 "retriable-status-codes";
    RATELIMITED = 8 "envoy-ratelimited";
    CANCELLED = 9 "cancelled";
    DEADLINE_EXCEEDED = 10 "deadline-exceeded";
    INTERNAL = 11 "internal";
    RESOURCE_EXHAUSTED = 12 "resource-exhausted";
    UNAVAILABLE = 13 "unavailable";
    RETRIABLE_HEADERS = 14 "retriable-headers";
    HTTP3_POST_CONNECT_FAILURE = 15 "http3-post-connect-failure";
}

/// `grpc-status` and the condition that it falls under.
const GRPC: [(u32, u32); 5] =
    [(1, CANCELLED), (4, DEADLINE_EXCEEDED), (8, RESOURCE_EXHAUSTED), (13, INTERNAL), (14, UNAVAILABLE)];

impl RetryPolicy {
    /// Of a rule; where it has none, the mesh's, then Istio's (2 attempts). What a rule leaves out is Istio's default.
    pub fn of(rule: Option<&Retries>, mesh: &MeshTraffic) -> Self {
        let default = Retries { attempts: DEFAULT_ATTEMPTS, ..Retries::default() };
        Self::parse(rule.or(mesh.retries.as_ref()).unwrap_or(&default), DEFAULT_ON)
    }

    /// Towards an agent's own application (Istio's inbound route): only what never reached it.
    pub fn inbound() -> Self {
        let retries = Retries { attempts: DEFAULT_ATTEMPTS, ..Retries::default() };
        Self { by_default: false, ..Self::parse(&retries, INBOUND_ON) }
    }

    fn parse(retries: &Retries, default_on: &str) -> Self {
        let by_default = retries.retry_on.trim().is_empty();
        let on = if by_default { default_on } else { &retries.retry_on };
        let mut policy = Self {
            attempts: retries.attempts,
            per_try_timeout: retries.per_try_timeout.filter(|timeout| !timeout.is_zero()),
            remote_localities: retries.remote_localities.unwrap_or(false),
            unknown: Vec::new(),
            ignore_previous_hosts: retries.ignore_previous_hosts,
            conditions: 0,
            statuses: Vec::new(),
            backoff: retries.backoff.filter(|pause| !pause.is_zero()).unwrap_or(DEFAULT_BACKOFF),
            least_backoff: retries.least_backoff.unwrap_or_default(),
            by_default,
        };
        for word in on.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if let Some((_, condition)) = WORDS.iter().find(|(known, _)| *known == word) {
                policy.conditions |= condition;
            } else if let Some(status) = word.parse().ok().filter(|status| (100..600).contains(status)) {
                policy.statuses.push(status);
                policy.conditions |= RETRIABLE_STATUS_CODES;
            } else {
                policy.unknown.push(word.to_owned());
            }
        }
        policy
    }

    /// Whether endpoints that a request was sent to are passed over when it is sent again. Where requests are spread
    /// by a hash Istio stays with the endpoint of the hash, unless `retryIgnorePreviousHosts` says otherwise.
    pub fn avoids_tried(&self, consistent_hash: bool) -> bool {
        self.ignore_previous_hosts.unwrap_or(!consistent_hash)
    }

    /// Whether to send it again after `retried` repetitions (0 after the first try).
    pub fn should_retry(&self, attempted: &Attempted, retried: u32) -> bool {
        retried < self.attempts && self.applies(attempted)
    }

    /// The same for a request of which it is known that it may be repeated (RFC 9110 9.2.2: GET, HEAD, PUT, DELETE,
    /// OPTIONS, TRACE; its whole body still at hand). Where nobody has written conditions it is also sent again when
    /// a connection ends before any response: a server may close an idle connection while a request is on its way.
    pub fn should_retry_idempotent(&self, attempted: &Attempted, retried: u32) -> bool {
        let lost = self.by_default && matches!(attempted, Attempted::Reset { .. });
        retried < self.attempts && (lost || self.applies(attempted))
    }

    fn applies(&self, attempted: &Attempted) -> bool {
        // A try that ends without a response would have been answered 503: Envoy counts it with those.
        const NO_RESPONSE: u32 = SERVER_ERROR | GATEWAY_ERROR | RESET;
        match *attempted {
            Attempted::ConnectFailed => self.on(NO_RESPONSE | RESET_BEFORE_REQUEST | CONNECT_FAILURE),
            Attempted::RefusedStream => self.on(NO_RESPONSE | REFUSED_STREAM),
            Attempted::Reset { sent: false } => self.on(NO_RESPONSE | RESET_BEFORE_REQUEST | CONNECT_FAILURE),
            Attempted::Reset { sent: true } | Attempted::PerTryTimeout => self.on(NO_RESPONSE),
            Attempted::Response { ratelimited: true, .. } => self.on(RATELIMITED),
            Attempted::Response { status, grpc_status, .. } => {
                (self.on(SERVER_ERROR) && (500..600).contains(&status))
                    || (self.on(GATEWAY_ERROR) && (502..=504).contains(&status))
                    || (self.on(RETRIABLE_4XX) && status == 409)
                    || (self.on(RETRIABLE_STATUS_CODES) && self.statuses.contains(&status))
                    || GRPC.iter().any(|(code, condition)| grpc_status == Some(*code) && self.on(*condition))
            }
        }
    }

    fn on(&self, conditions: u32) -> bool {
        self.conditions & conditions != 0
    }

    /// How long to wait before repetition number `retry` (from 1): anything below base × (2^retry − 1), at most ten times
    /// the base, by a random number (Envoy's fully jittered exponential back-off); on top of the least pause where a rule has one.
    pub fn backoff(&self, retry: u32, random: u64) -> Duration {
        let steps = 1_u32.checked_shl(retry).map_or(u32::MAX, |power| power - 1).clamp(1, LONGEST_BACKOFF);
        let bound = u64::try_from(self.backoff.saturating_mul(steps).as_nanos()).unwrap_or(u64::MAX).max(1);
        self.least_backoff.saturating_add(Duration::from_nanos(random % bound))
    }
}
