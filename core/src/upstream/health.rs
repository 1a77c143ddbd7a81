//! Passive health: endpoints that fail are set aside for a while (Envoy's outlier detection).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::upstream::model::OutlierDetection;

/// What is known of one endpoint, shared by all workers.
#[derive(Debug)]
pub struct Host {
    address: SocketAddr,
    active: AtomicU32,
    ejected: AtomicBool,
}

impl Host {
    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests under way.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether it is set aside.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    /// Counts a request as under way until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> ActiveRequest {
        self.active.fetch_add(1, Ordering::Relaxed);
        ActiveRequest(Arc::clone(self))
    }
}

/// One request under way at an endpoint.
#[derive(Debug)]
pub struct ActiveRequest(Arc<Host>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

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

/// One ejection, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Who.
    pub address: SocketAddr,
    /// Until when; swept some time after that.
    pub until: Instant,
    /// How often before, less what was forgiven.
    pub times: u32,
    /// Envoy's name of what was detected: `consecutive_5xx`.
    pub cause: &'static str,
}

/// The health of a cluster's endpoints as one client identity sees them.
#[derive(Debug, Default)]
pub struct Health {
    hosts: Mutex<HashMap<SocketAddr, Arc<Host>>>,
}

impl Health {
    /// How endpoints are judged from now on; what is known of them stays.
    pub fn configure(&self, policy: Option<&OutlierDetection>) {
        let _ = policy;
    }

    /// What is known of an endpoint.
    pub fn host(&self, address: SocketAddr) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(address).or_insert_with(|| {
            Arc::new(Host { address, active: AtomicU32::new(0), ejected: AtomicBool::new(false) })
        });
        Arc::clone(host)
    }

    /// Says what came of a try.
    pub fn report(&self, host: &Host, seen: Seen, now: Instant) {
        let _ = (host, seen, now);
    }

    /// Takes back those whose time is over; cheap when it is not yet time for the next sweep.
    pub fn sweep(&self, now: Instant) -> Duration {
        let _ = now;
        Duration::from_secs(10)
    }

    /// Who is set aside now.
    pub fn ejections(&self) -> Vec<Ejection> {
        Vec::new()
    }
}
