//! Istio's metrics of requests with Istio's labels, counted through handles that are looked up once for each pair of
//! workloads and kind of answer: a request formats no label.
//!
//! Source: Istio "Standard Metrics". Sizes are those of bodies.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use super::party::{END_LABELS, Key, Labels, Reporter};
use super::series::SeriesBudget;
use crate::http::Flags;

/// Envoy's default histogram buckets, which Istio's metrics have.
const BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];
/// Behind [`END_LABELS`].
const ANSWER_LABELS: [&str; 5] = [
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
];
/// Pairs whose handles a worker keeps; the cache starts afresh beyond.
const CACHED_PAIRS: usize = 1024;

/// The four families.
#[derive(Clone, Debug)]
pub(super) struct HttpFamilies {
    requests: IntCounterVec,
    duration: HistogramVec,
    request_bytes: HistogramVec,
    response_bytes: HistogramVec,
    budget: SeriesBudget,
}

impl HttpFamilies {
    pub(super) fn register(registry: &Registry, budget: SeriesBudget) -> prometheus::Result<Self> {
        let labels = [&END_LABELS[..], &ANSWER_LABELS[..]].concat();
        let requests = Opts::new("istio_requests_total", "Requests handled.");
        let requests = IntCounterVec::new(requests, &labels)?;
        registry.register(Box::new(requests.clone()))?;
        let histogram = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.into());
            let family = HistogramVec::new(options, &labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        Ok(Self {
            requests,
            duration: histogram("istio_request_duration_milliseconds", "How long requests took.")?,
            request_bytes: histogram("istio_request_bytes", "Sizes of request bodies.")?,
            response_bytes: histogram("istio_response_bytes", "Sizes of response bodies.")?,
            budget,
        })
    }
}

/// What tells the series of one pair apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// Of a gRPC call.
    pub grpc: bool,
    /// 0 where none was sent.
    pub code: u16,
    /// Of a gRPC call that said it.
    pub grpc_status: Option<u32>,
    /// Response flags.
    pub flags: Flags,
}

/// What is measured of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    pub(super) duration: Duration,
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// Handles of one pair of workloads.
#[derive(Debug)]
pub struct HttpPair {
    families: HttpFamilies,
    /// Keeps the records alive, whose addresses are the cache's key.
    labels: Labels,
    answers: RefCell<HashMap<Answer, Series>>,
}

#[derive(Clone, Debug)]
struct Series {
    requests: IntCounter,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
    /// Has labels of its own.
    exact: bool,
}

impl HttpPair {
    pub(super) fn count(&self, answer: Answer, measure: Measure) {
        let mut answers = self.answers.borrow_mut();
        let series = answers.entry(answer).or_insert_with(|| self.series(answer));
        series.requests.inc();
        series.duration.observe(measure.duration.as_secs_f64() * 1000.0);
        series.request_bytes.observe(measure.received as f64);
        series.response_bytes.observe(measure.sent as f64);
        if !series.exact {
            self.families.budget.count_overflow();
        }
    }

    fn series(&self, answer: Answer) -> Series {
        let Self { families, labels, .. } = self;
        let mut values = labels.ends();
        let policy = match (labels.reporter, labels.mutual_tls) {
            // Istio: it "cannot be properly populated" at the source.
            (Reporter::Source, _) => "unknown",
            (Reporter::Destination, true) => "mutual_tls",
            (Reporter::Destination, false) => "none",
        };
        let status = answer.grpc_status.map_or_else(String::new, |status| status.to_string());
        let flags = answer.flags.text();
        let own =
            [if answer.grpc { "grpc" } else { "http" }, &answer.code.to_string(), &status, &flags, policy];
        values.extend(own.map(Arc::from));
        let (values, exact) = families.budget.admit("http", values);
        let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
        Series {
            requests: families.requests.with_label_values(&values),
            duration: families.duration.with_label_values(&values),
            request_bytes: families.request_bytes.with_label_values(&values),
            response_bytes: families.response_bytes.with_label_values(&values),
            exact,
        }
    }
}

/// One worker's handles.
#[derive(Debug)]
pub(super) struct HttpCache {
    families: HttpFamilies,
    pairs: RefCell<HashMap<Key, Rc<HttpPair>>>,
}

impl HttpCache {
    pub(super) fn new(families: HttpFamilies) -> Self {
        Self { families, pairs: RefCell::default() }
    }

    pub(super) fn pair(&self, labels: &Labels) -> Rc<HttpPair> {
        let mut pairs = self.pairs.borrow_mut();
        let key = labels.key();
        if let Some(pair) = pairs.get(&key) {
            return pair.clone();
        }
        if pairs.len() >= CACHED_PAIRS {
            pairs.clear();
        }
        let families = self.families.clone();
        let pair = Rc::new(HttpPair { families, labels: labels.clone(), answers: RefCell::default() });
        pairs.insert(key, pair.clone());
        pair
    }
}
