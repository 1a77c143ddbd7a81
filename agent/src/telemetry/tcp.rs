//! Istio's TCP metrics with Istio's labels, counted through handles that are looked up once per pair of workloads.
//!
//! Source: Istio "Standard Metrics": received is from the client, sent is to the client, for both reporters.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use heddle_core::identity::Identity;
use heddle_core::workload::{Service, Workload};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// In the order of [`TcpLabels::values`].
const LABELS: &[&str] = &[
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "connection_security_policy",
    "response_flags",
];
const UNKNOWN: &str = "unknown";
/// Pairs whose handles a worker keeps; the cache starts afresh beyond.
const CACHED_PAIRS: usize = 1024;

/// Which side reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The client's agent.
    Source,
    /// The server's agent.
    Destination,
}

/// One end of a connection, as well as it is known.
#[derive(Clone, Debug)]
pub enum Party {
    /// A workload of the mesh or beside it.
    Workload(Arc<Workload>),
    /// A verified identity without a workload record.
    Identity(Identity),
    /// Nothing is known.
    Unknown,
}

/// What a connection is counted under.
#[derive(Clone, Debug)]
pub struct TcpLabels {
    /// Which side reports.
    pub reporter: Reporter,
    /// The client.
    pub source: Party,
    /// The server.
    pub destination: Party,
    /// The service that was dialled or that the port belongs to.
    pub service: Option<Arc<Service>>,
    /// Whether the connection went through mTLS.
    pub mutual_tls: bool,
}

/// The four families.
#[derive(Clone, Debug)]
pub(super) struct TcpFamilies {
    opened: IntCounterVec,
    closed: IntCounterVec,
    sent: IntCounterVec,
    received: IntCounterVec,
}

impl TcpFamilies {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let family = |name: &str, help: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), LABELS)?;
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
        let counter = |family: &IntCounterVec| with_labels(family, &labels, "-");
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
            with_labels(&self.families.closed, &self.labels, response_flags).inc();
        }
    }
}

fn with_labels(family: &IntCounterVec, labels: &TcpLabels, flags: &str) -> IntCounter {
    let values = labels.values(flags);
    let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    family.with_label_values(&values)
}

impl TcpLabels {
    fn values(&self, flags: &str) -> Vec<Arc<str>> {
        let mut values = Vec::with_capacity(LABELS.len());
        values.push(match self.reporter {
            Reporter::Source => "source".into(),
            Reporter::Destination => "destination".into(),
        });
        values.extend(self.source.values());
        values.extend(self.destination.values());
        values.extend(match &self.service {
            Some(service) => [service.hostname.clone(), service.name.clone(), service.namespace.clone()],
            None => [UNKNOWN.into(), UNKNOWN.into(), UNKNOWN.into()],
        });
        values.push("tcp".into());
        values.push(if self.mutual_tls { "mutual_tls".into() } else { "none".into() });
        values.push(flags.into());
        values
    }

    fn key(&self) -> Key {
        let service = self.service.as_ref().map_or(0, |service| Arc::as_ptr(service).addr());
        (self.reporter, self.source.key(), self.destination.key(), service, self.mutual_tls)
    }
}

impl Party {
    fn values(&self) -> [Arc<str>; 8] {
        let unknown: Arc<str> = UNKNOWN.into();
        match self {
            Self::Workload(workload) => [
                workload.workload_name.clone(),
                workload.canonical_name.clone(),
                workload.canonical_revision.clone(),
                workload.identity.namespace().into(),
                workload.identity.to_string().into(),
                workload.canonical_name.clone(),
                workload.canonical_revision.clone(),
                cluster(workload.uid.as_str()).into(),
            ],
            Self::Identity(identity) => {
                let mut values = std::array::from_fn(|_| unknown.clone());
                values[3] = identity.namespace().into();
                values[4] = identity.to_string().into();
                values
            }
            Self::Unknown => std::array::from_fn(|_| unknown.clone()),
        }
    }

    fn key(&self) -> PartyKey {
        match self {
            Self::Workload(workload) => PartyKey::Workload(Arc::as_ptr(workload).addr()),
            Self::Identity(identity) => PartyKey::Identity(identity.clone()),
            Self::Unknown => PartyKey::Unknown,
        }
    }
}

/// A WDS name starts with its cluster: `<cluster>//Pod/<namespace>/<name>`.
fn cluster(uid: &str) -> &str {
    uid.split_once("//").map(|(cluster, _)| cluster).filter(|name| !name.is_empty()).unwrap_or(UNKNOWN)
}

type Key = (Reporter, PartyKey, PartyKey, usize, bool);

#[derive(Debug, PartialEq, Eq, Hash)]
enum PartyKey {
    Workload(usize),
    Identity(Identity),
    Unknown,
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
