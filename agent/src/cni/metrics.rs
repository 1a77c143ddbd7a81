//! What plugins asked, and how the installer of this node fares.

use heddle_cni::install::report::Report;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Counters; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    repairs: IntGauge,
    held_back: IntGauge,
    installed: IntGauge,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// The registry has metrics of these names already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let help = "What the CNI plugin asked, by command and answer.";
        let requests =
            IntCounterVec::new(Opts::new("heddle_cni_requests_total", help), &["command", "answer"])?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self {
            requests,
            repairs: gauge(
                "heddle_cni_repairs",
                "How often the installer brought the plugin back into the network configuration.",
            )?,
            held_back: gauge(
                "heddle_cni_repairs_held_back",
                "How many repairs waited because another program undoes them.",
            )?,
            installed: gauge(
                "heddle_cni_installed",
                "Whether the network configuration has the plugin (1) or not (0).",
            )?,
        })
    }

    pub(super) fn count(&self, command: &str, answer: &str) {
        self.requests.with_label_values(&[command, answer]).inc();
    }

    /// How often a command got an answer: `ok`, `refused`, `gone`.
    pub fn counted(&self, command: &str, answer: &str) -> u64 {
        self.requests.with_label_values(&[command, answer]).get()
    }

    pub(super) fn show(&self, report: Option<&Report>) {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.repairs.set(report.map_or(0, |report| signed(report.repairs)));
        self.held_back.set(report.map_or(0, |report| signed(report.held_back)));
        self.installed.set(i64::from(
            report.is_some_and(|report| report.configuration.is_some() && report.error.is_none()),
        ));
    }
}
