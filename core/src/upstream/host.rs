//! What is known of one endpoint, shared by all workers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::upstream::health::Ejection;
use crate::upstream::places::Places;

/// After the first refusal; doubled with each further one, so many times.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: u32 = 3;

/// What came of one try at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A response with this status.
    Status(u16),
    /// A gRPC response with this HTTP status and this `grpc-status`.
    Grpc(u16, u32),
    /// No connection could be made, or its handshake failed.
    ConnectFailed,
    /// The connection, or the stream, was reset before a response.
    Reset,
    /// No response in time.
    Timeout,
    /// An opaque connection was made.
    Connected,
}

/// What is counted in a row. Its name is Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    ServerError,
    GatewayError,
    LocalOrigin,
}

impl Signal {
    pub(super) const ALL: [Self; 3] = [Self::ServerError, Self::GatewayError, Self::LocalOrigin];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ServerError => "consecutive_5xx",
            Self::GatewayError => "consecutive_gateway_failure",
            Self::LocalOrigin => "consecutive_local_origin_failure",
        }
    }
}

/// What is known of one endpoint.
#[derive(Debug)]
pub struct Host {
    address: SocketAddr,
    joined: Instant,
    active: AtomicU32,
    ejected: AtomicBool,
    counts: [AtomicU32; 3],
    /// Nanoseconds after it joined; until then it rests.
    rests_until: AtomicU64,
    /// Connections that failed in a row.
    refusals: AtomicU32,
    detail: Mutex<Detail>,
    places: Arc<Places>,
}

/// Of the ejection under way, or the last.
#[derive(Debug, Default)]
pub(super) struct Detail {
    /// In a row; one less for each sweep that finds it in use.
    pub(super) times: u32,
    pub(super) since: Option<Instant>,
    pub(super) term: Duration,
    pub(super) cause: &'static str,
}

impl Host {
    pub(super) fn new(address: SocketAddr, joined: Instant) -> Self {
        Self {
            address,
            joined,
            active: AtomicU32::new(0),
            ejected: AtomicBool::new(false),
            counts: Default::default(),
            rests_until: AtomicU64::new(0),
            refusals: AtomicU32::new(0),
            detail: Mutex::default(),
            places: Arc::default(),
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections to it, and who waits for one.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// When it came into the set.
    pub fn joined(&self) -> Instant {
        self.joined
    }

    /// Requests under way.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether it is set aside.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    /// Whether it refused a connection a moment ago: it is passed over while others are left. This is not Istio's: where
    /// nobody asked for outlier detection, it keeps requests from a pod that is going before the control plane says so.
    pub fn is_resting(&self, now: Instant) -> bool {
        let until = self.rests_until.load(Ordering::Relaxed);
        until != 0 && now.saturating_duration_since(self.joined) < Duration::from_nanos(until)
    }

    /// A connection failed, or one was made.
    pub(super) fn rest(&self, failed: bool, now: Instant) {
        if failed {
            let times = self.refusals.fetch_add(1, Ordering::Relaxed).min(LONGEST_REST);
            let until = now.saturating_duration_since(self.joined) + REST * (1 << times);
            self.rests_until.store(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        } else if self.rests_until.load(Ordering::Relaxed) != 0 {
            self.rests_until.store(0, Ordering::Relaxed);
            self.refusals.store(0, Ordering::Relaxed);
        }
    }

    /// The ejection under way.
    pub fn ejection(&self) -> Option<Ejection> {
        if !self.is_ejected() {
            return None;
        }
        let detail = self.detail();
        let since = detail.since?;
        let (times, cause) = (detail.times, detail.cause);
        Some(Ejection { address: self.address, since, until: since + detail.term, times, cause })
    }

    /// Counts a request as under way until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> ActiveRequest {
        self.active.fetch_add(1, Ordering::Relaxed);
        ActiveRequest(Arc::clone(self))
    }

    /// Counts what was seen; what has reached its threshold by that.
    pub(super) fn count(&self, seen: Seen, split: bool, limits: &[AtomicU32; 3]) -> [Option<Signal>; 2] {
        let status = match seen {
            Seen::Status(status) => Some(status),
            Seen::Grpc(200, grpc) => Some(http_status(grpc)),
            Seen::Grpc(status, _) => Some(status),
            Seen::Connected => (!split).then_some(200),
            Seen::ConnectFailed | Seen::Reset => (!split).then_some(503),
            Seen::Timeout => (!split).then_some(504),
        };
        let Some(status) = status else {
            if seen == Seen::Connected {
                self.reset(Signal::LocalOrigin);
                return [None; 2];
            }
            return [self.more(Signal::LocalOrigin, limits), None];
        };
        if split {
            self.reset(Signal::LocalOrigin);
        }
        if status < 500 {
            self.reset(Signal::ServerError);
            self.reset(Signal::GatewayError);
            return [None; 2];
        }
        let gateway = if (502..=504).contains(&status) {
            self.more(Signal::GatewayError, limits)
        } else {
            self.reset(Signal::GatewayError);
            None
        };
        [gateway, self.more(Signal::ServerError, limits)]
    }

    fn more(&self, signal: Signal, limits: &[AtomicU32; 3]) -> Option<Signal> {
        let limit = limits[signal as usize].load(Ordering::Relaxed);
        let count = self.counts[signal as usize].fetch_add(1, Ordering::Relaxed).saturating_add(1);
        (limit > 0 && count >= limit).then_some(signal)
    }

    pub(super) fn reset(&self, signal: Signal) {
        // Most responses are good ones: no write, no cache line to fight for.
        if self.counts[signal as usize].load(Ordering::Relaxed) != 0 {
            self.counts[signal as usize].store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn set_ejected(&self, ejected: bool) {
        self.ejected.store(ejected, Ordering::Relaxed);
    }

    pub(super) fn detail(&self) -> MutexGuard<'_, Detail> {
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request under way at an endpoint.
#[derive(Debug)]
#[must_use]
pub struct ActiveRequest(Arc<Host>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The HTTP status that a gRPC status counts as (Envoy's `grpcToHttpStatus`).
fn http_status(grpc: u32) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
