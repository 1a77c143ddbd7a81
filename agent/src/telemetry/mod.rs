//! What traffic tells about itself: Istio's metrics, counters of every refusal, and the access log.
//!
//! ```text
//! Outcome ─┬─► tcp (istio_tcp_*, both reporters)      ┐
//!          ├─► reason (heddle_agent_ended_total)      ├─► prometheus registry ─► :15020
//!          └─► access_log (a lossy queue) ─► stdout   ┘
//! ```

pub mod access_log;
pub mod outcome;
pub mod reason;
pub mod tcp;

use std::rc::Rc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

pub use access_log::AccessLog;
pub use outcome::{Direction, Meter, Outcome};
pub use reason::{Failure, Reason};

/// Counters of the whole agent; cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Registry,
    tcp: tcp::TcpFamilies,
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
        let tcp = tcp::TcpFamilies::register(&registry)?;
        Ok(Self { registry, tcp, ended, tunnels, live, access_log: AccessLog::disabled() })
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
            ended: self.ended.clone(),
            client_tunnels: self.tunnels.with_label_values(&["client"]),
            server_tunnels: self.tunnels.with_label_values(&["server"]),
            live: self.live.clone(),
            access_log: self.access_log.clone(),
        })
    }
}

/// What one worker counts with: handles looked up once.
#[derive(Debug)]
pub struct WorkerTelemetry {
    tcp: tcp::TcpCache,
    ended: IntCounterVec,
    /// Tunnels opened.
    pub client_tunnels: IntCounter,
    /// Tunnels accepted.
    pub server_tunnels: IntCounter,
    /// Connections in the live tables.
    pub live: IntGauge,
    access_log: AccessLog,
}

impl WorkerTelemetry {
    /// Counts one connection that did not complete.
    pub fn count(&self, direction: Direction, reason: Reason) {
        self.ended.with_label_values(&[direction.name(), reason.name()]).inc();
    }
}
