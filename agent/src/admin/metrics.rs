//! The agent's own gauges, beside those of its connections: few series, no names of peers in them.

use prometheus::{Encoder, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use super::Sources;

/// Gauges that are set when somebody looks.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    connected: IntGauge,
    generation: IntGauge,
    applied: IntGauge,
    enrolled: IntGauge,
    failed: IntGauge,
    certificates: IntGauge,
    types: IntGaugeVec,
    drops: IntCounterVec,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let info = IntGaugeVec::new(Opts::new("heddle_agent_build_info", "Always 1."), &["version"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(info))?;
        let help = "Whether the controller's last word on a type is in force (1) or not (0).";
        let types = IntGaugeVec::new(Opts::new("heddle_config_synced", help), &["type"])?;
        registry.register(Box::new(types.clone()))?;
        let help = "Connections and packets that the eBPF programs refused.";
        let drops = IntCounterVec::new(Opts::new("heddle_ebpf_drops_total", help), &["reason", "where"])?;
        registry.register(Box::new(drops.clone()))?;
        Ok(Self {
            registry: registry.clone(),
            connected: gauge("heddle_control_connected", "Whether a discovery stream is open.")?,
            generation: gauge("heddle_config_generation", "Generation of the configuration in force.")?,
            applied: gauge("heddle_config_applied_generation", "Generation that the kernel was brought to.")?,
            enrolled: gauge("heddle_workloads_enrolled", "Pods that are captured.")?,
            failed: gauge(
                "heddle_workloads_failed",
                "Pods that should be captured, or released, and are not.",
            )?,
            certificates: gauge("heddle_certificates", "Pods with a valid certificate.")?,
            types,
            drops,
        })
    }

    pub(super) fn render(&self, sources: &Sources) -> prometheus::Result<Vec<u8>> {
        let (status, applied) = (sources.status(), sources.applied());
        self.connected.set(i64::from(status.connected));
        self.generation.set(signed(sources.snapshot().generation().0));
        self.applied.set(signed(applied.generation.0));
        self.enrolled.set(signed(applied.enrolled as u64));
        self.failed.set(signed(applied.failed.len() as u64));
        self.certificates.set(signed(sources.identities.count() as u64));
        for report in status.types() {
            self.types.with_label_values(&[report.name]).set(i64::from(report.state == "SYNCED"));
        }
        for each in sources.inspector.drops() {
            let counter = self.drops.with_label_values(&[each.reason, each.direction]);
            counter.reset(); // the kernel counts; this only shows it
            counter.inc_by(each.count);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
