//! Who is at the ends of a connection or request, as Istio's labels have it.

use std::sync::Arc;

use heddle_core::identity::Identity;
use heddle_core::workload::{Service, Workload};

pub(super) const UNKNOWN: &str = "unknown";

/// In the order of [`Labels::ends`].
pub(super) const END_LABELS: [&str; 20] = [
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
];

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

/// What a connection or a request is counted under.
#[derive(Clone, Debug)]
pub struct Labels {
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

impl Labels {
    /// Values of [`END_LABELS`].
    pub(super) fn ends(&self) -> Vec<Arc<str>> {
        let mut values = Vec::with_capacity(END_LABELS.len() + 5);
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
        values
    }

    /// The same for the same records: these are kept alive by whoever keeps the labels.
    pub(super) fn key(&self) -> Key {
        let service = self.service.as_ref().map_or(0, |service| Arc::as_ptr(service).addr());
        Key {
            reporter: self.reporter,
            source: self.source.key(),
            destination: self.destination.key(),
            service,
            mutual_tls: self.mutual_tls,
        }
    }
}

impl Party {
    /// Whose it is, as far as that is known.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Workload(workload) => Some(&workload.identity),
            Self::Identity(identity) => Some(identity),
            Self::Unknown => None,
        }
    }

    fn values(&self) -> [Arc<str>; 8] {
        let unknown: Arc<str> = UNKNOWN.into();
        match self {
            Self::Workload(workload) => {
                let label = |name: &str, other: &Arc<str>| {
                    workload.labels.get(name).map_or_else(|| other.clone(), |value| value.as_str().into())
                };
                [
                    workload.workload_name.clone(),
                    workload.canonical_name.clone(),
                    workload.canonical_revision.clone(),
                    workload.identity.namespace().into(),
                    workload.identity.to_string().into(),
                    label("app", &workload.canonical_name),
                    label("version", &workload.canonical_revision),
                    cluster(workload.uid.as_str()).into(),
                ]
            }
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

/// What handles are cached by.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    reporter: Reporter,
    source: PartyKey,
    destination: PartyKey,
    service: usize,
    mutual_tls: bool,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum PartyKey {
    Workload(usize),
    Identity(Identity),
    Unknown,
}
