//! Counters and gauges of the controller.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::index::Output;
use crate::xds::kind::ResourceKind;

/// All metrics. Labels are of fixed sets only.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Streams open now.
    pub streams: IntGauge,
    /// Streams refused for their token.
    pub refused_streams: IntCounter,
    /// Decisions about callers' tokens, by result.
    pub callers: IntCounterVec,
    /// Resources and removals sent.
    pub pushed: IntCounter,
    /// Requests for certificates, by result.
    pub certificates: IntCounterVec,
    /// Time to apply a batch to the index.
    pub index_seconds: Histogram,
    resources: IntGaugeVec,
}

impl Metrics {
    /// New metrics in a registry of their own.
    ///
    /// # Errors
    /// A name breaks the rules of Prometheus.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let buckets = prometheus::exponential_buckets(0.0001, 4.0, 10)?;
        let histogram =
            HistogramOpts::new("heddle_controller_index_seconds", "Time to apply a batch of changes");
        let metrics = Self {
            streams: IntGauge::new("heddle_controller_streams", "Discovery streams open now")?,
            refused_streams: IntCounter::new(
                "heddle_controller_refused_streams_total",
                "Discovery streams refused for their token",
            )?,
            callers: IntCounterVec::new(
                Opts::new("heddle_controller_callers_total", "Decisions about callers' tokens by result"),
                &["result"],
            )?,
            pushed: IntCounter::new(
                "heddle_controller_pushed_resources_total",
                "Resources and removals sent to agents",
            )?,
            certificates: IntCounterVec::new(
                Opts::new("heddle_controller_certificate_requests_total", "Certificate requests by result"),
                &["result"],
            )?,
            index_seconds: Histogram::with_opts(histogram.buckets(buckets))?,
            resources: IntGaugeVec::new(
                Opts::new("heddle_controller_resources", "Resources published, by type"),
                &["type"],
            )?,
            registry,
        };
        metrics.registry.register(Box::new(metrics.streams.clone()))?;
        metrics.registry.register(Box::new(metrics.refused_streams.clone()))?;
        metrics.registry.register(Box::new(metrics.callers.clone()))?;
        metrics.registry.register(Box::new(metrics.pushed.clone()))?;
        metrics.registry.register(Box::new(metrics.certificates.clone()))?;
        metrics.registry.register(Box::new(metrics.index_seconds.clone()))?;
        metrics.registry.register(Box::new(metrics.resources.clone()))?;
        Ok(metrics)
    }

    /// Counts what is published.
    pub fn resources(&self, output: &Output) {
        for kind in ResourceKind::ALL {
            let count = match kind {
                ResourceKind::LocalWorkload => output.all_locals().map(|table| table.len()).sum(),
                _ => kind.table(output, "").map_or(0, |table| table.len()),
            };
            let gauge = self.resources.with_label_values(&[kind.name()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        encoded.map(|()| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }
}
