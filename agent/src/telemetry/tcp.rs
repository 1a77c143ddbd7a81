//! Istio's TCP metrics with Istio's labels, counted through handles that are looked up once per pair of workloads.
//!
//! Source: Istio "Standard Metrics": received is from the client, sent is to the client, for both reporters.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::party::{END_LABELS, Key};
pub use super::party::{Labels as TcpLabels, Party, Reporter};
use super::series::SeriesBudget;

/// Behind [`END_LABELS`].
const OWN_LABELS: [&str; 3] = ["request_protocol", "connection_security_policy", "response_flags"];
/// Pairs whose handles a worker keeps; the cache starts afresh beyond.
const CACHED_PAIRS: usize = 1024;

/// The four families.
#[derive(Clone, Debug)]
pub(super) struct TcpFamilies {
    opened: IntCounterVec,
    closed: IntCounterVec,
    sent: IntCounterVec,
    received: IntCounterVec,
    budget: SeriesBudget,
}

impl TcpFamilies {
    pub(super) fn register(registry: &Registry, budget: SeriesBudget) -> prometheus::Result<Self> {
        let labels = [&END_LABELS[..], &OWN_LABELS[..]].concat();
        let family = |name: &str, help: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), &labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        Ok(Self {
            opened: family("istio_tcp_connections_opened_total", "TCP connections opened.")?,
            closed: family("istio_tcp_connections_closed_total", "TCP connections closed.")?,
            sent: family("istio_tcp_sent_bytes_total", "Bytes sent to clients over TCP connections.")?,
            received: family(
                "istio_tcp_received_bytes_total",
                "Bytes received from clients over TCP connections.",
            )?,
            budget,
        })
    }
}

/// Counters of one pair of workloads under one set of labels.
#[derive(Debug)]
pub struct TcpCounters {
    pub(super) opened: IntCounter,
    pub(super) sent: IntCounter,
    pub(super) received: IntCounter,
    closed: IntCounter,
    families: TcpFamilies,
    /// Keeps the workloads alive, whose addresses are the cache's key.
    labels: TcpLabels,
}

impl TcpCounters {
    fn new(families: &TcpFamilies, labels: TcpLabels) -> Self {
        let (values, exact) = values(families, &labels, "-");
        if !exact {
            families.budget.count_overflow();
        }
        let counter = |family: &IntCounterVec| with_values(family, &values);
        Self {
            opened: counter(&families.opened),
            sent: counter(&families.sent),
            received: counter(&families.received),
            closed: counter(&families.closed),
            families: families.clone(),
            labels,
        }
    }

    pub(super) fn close(&self, response_flags: &'static str) {
        if response_flags == "-" {
            self.closed.inc();
        } else {
            let (values, _) = values(&self.families, &self.labels, response_flags);
            with_values(&self.families.closed, &values).inc();
        }
    }
}

fn values(families: &TcpFamilies, labels: &TcpLabels, flags: &str) -> (Vec<Arc<str>>, bool) {
    let mut values = labels.ends();
    let policy = if labels.mutual_tls { "mutual_tls" } else { "none" };
    values.extend(["tcp", policy, flags].map(Arc::from));
    families.budget.admit("tcp", values)
}

fn with_values(family: &IntCounterVec, values: &[Arc<str>]) -> IntCounter {
    let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    family.with_label_values(&values)
}

/// One worker's handles.
#[derive(Debug)]
pub(super) struct TcpCache {
    families: TcpFamilies,
    pairs: RefCell<HashMap<Key, Rc<TcpCounters>>>,
}

impl TcpCache {
    pub(super) fn new(families: TcpFamilies) -> Self {
        Self { families, pairs: RefCell::default() }
    }

    pub(super) fn counters(&self, labels: TcpLabels) -> Rc<TcpCounters> {
        let mut pairs = self.pairs.borrow_mut();
        let key = labels.key();
        if let Some(counters) = pairs.get(&key) {
            return counters.clone();
        }
        if pairs.len() >= CACHED_PAIRS {
            pairs.clear();
        }
        let counters = Rc::new(TcpCounters::new(&self.families, labels));
        pairs.insert(key, counters.clone());
        counters
    }
}
