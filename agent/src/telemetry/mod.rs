//! What traffic tells about itself: Istio's metrics, counters of every refusal, and the access log.
//!
//! ```text
//! a connection: Outcome  ─┬─► tcp (istio_tcp_*, both reporters)             ┐
//!                         ├─► reason (heddle_agent_ended_total)             ├─► prometheus registry ─► :15020
//! a request:    record   ─┼─► http (istio_requests_total and its histograms) ┘
//!                         └─► format ─► access_log (a lossy queue) ─► stdout
//! ```

pub mod access_log;
pub mod format;
pub mod http;
pub mod outcome;
pub mod party;
pub mod reason;
mod request;
mod series;
pub mod tcp;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use heddle_core::store::MeshTraffic;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

pub use access_log::AccessLog;
use format::Format;
pub use outcome::{Direction, Meter, Outcome};
pub use party::{Labels, Party, Reporter};
pub use reason::{Failure, Reason};

/// Counters of the whole agent; cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Registry,
    tcp: tcp::TcpFamilies,
    http: http::HttpFamilies,
    ended: IntCounterVec,
    tunnels: IntCounterVec,
    live: IntGauge,
    access_log: AccessLog,
}

impl Telemetry {
    /// Registers everything; no access log.
    ///
    /// # Errors
    /// The registry has metrics of these names already.
    pub fn new(registry: Registry) -> prometheus::Result<Self> {
        let ended = IntCounterVec::new(
            Opts::new("heddle_agent_ended_total", "Connections refused or cut short, by reason."),
            &["direction", "reason"],
        )?;
        let tunnels = IntCounterVec::new(
            Opts::new("heddle_agent_tunnels_total", "Tunnel connections established, by side."),
            &["side"],
        )?;
        let live = IntGauge::new("heddle_agent_connections", "Connections that are open now.")?;
        registry.register(Box::new(ended.clone()))?;
        registry.register(Box::new(tunnels.clone()))?;
        registry.register(Box::new(live.clone()))?;
        let budget = series::SeriesBudget::register(&registry)?;
        let tcp = tcp::TcpFamilies::register(&registry, budget.clone())?;
        let http = http::HttpFamilies::register(&registry, budget)?;
        Ok(Self { registry, tcp, http, ended, tunnels, live, access_log: AccessLog::disabled() })
    }

    /// The same with an access log on standard output.
    ///
    /// # Errors
    /// The counter of lost lines is registered already, or the writer's thread cannot start.
    pub fn with_access_log(mut self) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let lost =
            IntCounter::new("heddle_agent_access_log_lost_total", "Access log lines lost to a slow reader.")?;
        self.registry.register(Box::new(lost.clone()))?;
        self.access_log = AccessLog::stdout(lost)?;
        Ok(self)
    }

    /// The same with an access log of the caller's.
    #[must_use]
    pub fn logging_to(mut self, access_log: AccessLog) -> Self {
        self.access_log = access_log;
        self
    }

    /// What `/metrics` gathers from.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// How many connections of a direction ended for this reason.
    pub fn ended(&self, direction: Direction, reason: Reason) -> u64 {
        self.ended.with_label_values(&[direction.name(), reason.name()]).get()
    }

    /// How many tunnel connections were established: `client` or `server`.
    pub fn tunnels(&self, side: &str) -> u64 {
        self.tunnels.with_label_values(&[side]).get()
    }

    /// One worker's part.
    pub fn worker(&self) -> Rc<WorkerTelemetry> {
        Rc::new(WorkerTelemetry {
            tcp: tcp::TcpCache::new(self.tcp.clone()),
            http: http::HttpCache::new(self.http.clone()),
            ended: self.ended.clone(),
            client_tunnels: self.tunnels.with_label_values(&["client"]),
            server_tunnels: self.tunnels.with_label_values(&["server"]),
            live: self.live.clone(),
            access_log: self.access_log.clone(),
            silent: Cell::new(false),
            format: RefCell::default(),
        })
    }
}

/// What one worker counts with: handles looked up once.
#[derive(Debug)]
pub struct WorkerTelemetry {
    tcp: tcp::TcpCache,
    http: http::HttpCache,
    ended: IntCounterVec,
    /// Tunnels opened.
    pub client_tunnels: IntCounter,
    /// Tunnels accepted.
    pub server_tunnels: IntCounter,
    /// Connections in the live tables.
    pub live: IntGauge,
    access_log: AccessLog,
    /// The mesh wants no access log.
    silent: Cell<bool>,
    format: RefCell<InForce>,
}

/// The access log's format, and what it was made from.
#[derive(Debug, Default)]
struct InForce {
    format: Rc<Format>,
    json: bool,
    text: Option<String>,
}

impl WorkerTelemetry {
    /// Counts one connection that did not complete.
    pub fn count(&self, direction: Direction, reason: Reason) {
        self.ended.with_label_values(&[direction.name(), reason.name()]).inc();
    }

    /// Brings the access log's format up to date; one that is none leaves the last in force.
    pub fn configure(&self, traffic: &MeshTraffic) {
        self.silent.set(traffic.access_log_off);
        let mut now = self.format.borrow_mut();
        if now.json == traffic.access_log_json && now.text == traffic.access_log_format {
            return;
        }
        (now.json, now.text) = (traffic.access_log_json, traffic.access_log_format.clone());
        match Format::new(now.json, now.text.as_deref()) {
            Ok(format) => now.format = Rc::new(format),
            Err(error) => tracing::warn!(%error, "the access log keeps its format"),
        }
    }

    /// Whether anybody wants lines of the access log.
    pub fn logs(&self) -> bool {
        self.access_log.is_enabled() && !self.silent.get()
    }

    fn format(&self) -> Rc<Format> {
        self.format.borrow().format.clone()
    }
}

#[cfg(test)]
mod tests;
