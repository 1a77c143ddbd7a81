//! Everything that the agent holds: the core's store, and the wire form and version of each resource beside it.
//!
//! One owner, the control task. A response is decoded whole before any of it applies.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use heddle_core::names::{PodUid, PolicyName, ServiceKey, WorkloadUid};
use heddle_core::snapshot::Snapshot;
use heddle_core::store::Store;
use heddle_proto::discovery::{DeltaDiscoveryResponse, Resource};
use prost::Message as _;
use prost_types::Any;

use super::Kind;
use super::decode::{self, Change};
use crate::tls::TrustBundle;

/// The owner's state.
#[derive(Debug, Default)]
pub(super) struct Tables {
    store: Store,
    roots: Option<TrustBundle>,
    trust_domain: String,
    held: [Held; Kind::ALL.len()],
}

/// Resources of one type.
#[derive(Debug, Default)]
struct Held {
    /// Whether the controller has ever said what there is.
    known: bool,
    resources: BTreeMap<String, (String, Vec<u8>)>,
}

/// Why a response is refused: every resource at fault, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused(Vec<(String, String)>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The first few name the fault; a thousand more would only fill the log.
        const SHOWN: usize = 8;
        for (at, (name, reason)) in self.0.iter().take(SHOWN).enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{name}: {reason}")?;
        }
        match self.0.len().checked_sub(SHOWN) {
            Some(more @ 1..) => write!(f, "; and {more} more"),
            _ => Ok(()),
        }
    }
}

impl Tables {
    /// Applies a whole response, or none of it.
    pub(super) fn apply(&mut self, kind: Kind, response: DeltaDiscoveryResponse) -> Result<(), Refused> {
        let changes = self.decode(kind, &response)?;
        for name in &response.removed_resources {
            self.remove(kind, name);
        }
        for (resource, change) in response.resources.into_iter().zip(changes) {
            self.put(change);
            let bytes = resource.resource.map(|any| any.value).unwrap_or_default();
            self.held[kind.index()].resources.insert(resource.name, (resource.version, bytes));
        }
        self.held[kind.index()].known = true;
        Ok(())
    }

    /// Whether the mesh's facts are there; without them nothing else can be read.
    pub(super) fn has_mesh(&self) -> bool {
        !self.trust_domain.is_empty()
    }

    /// Whether every type is known, so that a snapshot says the whole truth. A partial one would release pods
    /// that were captured before a restart.
    pub(super) fn complete(&self) -> bool {
        self.has_mesh() && self.held.iter().all(|held| held.known)
    }

    /// The next snapshot.
    pub(super) fn publish(&mut self) -> Arc<Snapshot> {
        self.store.publish()
    }

    /// The mesh's trusted roots; none before its facts are known.
    pub(super) fn roots(&self) -> Option<&TrustBundle> {
        self.roots.as_ref()
    }

    /// Name and version of everything held of a type.
    pub(super) fn versions(&self, kind: Kind) -> HashMap<String, String> {
        let resources = self.held[kind.index()].resources.iter();
        resources.map(|(name, (version, _))| (name.clone(), version.clone())).collect()
    }

    /// What is held, as the responses that would bring it: one per known type, in order; but for private keys, which no
    /// disk gets.
    pub(super) fn export(&self) -> Vec<DeltaDiscoveryResponse> {
        let known = Kind::ALL.into_iter().filter(|kind| self.held[kind.index()].known);
        let response = |kind: Kind| DeltaDiscoveryResponse {
            type_url: kind.url().to_owned(),
            resources: self.held[kind.index()].resources.iter().map(|held| saved(kind, held)).collect(),
            ..Default::default()
        };
        known.map(response).collect()
    }

    fn decode(&self, kind: Kind, response: &DeltaDiscoveryResponse) -> Result<Vec<Change>, Refused> {
        let mut refused = Vec::new();
        let mut changes = Vec::with_capacity(response.resources.len());
        let mut names = HashSet::new();
        for resource in &response.resources {
            if !names.insert(resource.name.as_str()) {
                refused.push((resource.name.clone(), "it is in the response twice".to_owned()));
                continue;
            }
            match decode::resource(kind, resource, &self.trust_domain) {
                Ok(change) => changes.push(change),
                Err(reason) => refused.push((resource.name.clone(), reason)),
            }
        }
        if kind == Kind::Mesh && response.removed_resources.iter().any(|name| name == "mesh") {
            refused.push(("mesh".to_owned(), "it cannot be removed".to_owned()));
        }
        if refused.is_empty() { Ok(changes) } else { Err(Refused(refused)) }
    }

    fn put(&mut self, change: Change) {
        match change {
            Change::Mesh(facts, roots) => {
                let moved = facts.trust_domain != self.trust_domain;
                self.trust_domain.clone_from(&facts.trust_domain);
                self.store.set_mesh(facts);
                self.roots = Some(roots);
                if moved {
                    self.reread();
                }
            }
            Change::Policy(policy) => self.store.put_policy(policy),
            Change::Traffic(object) => self.store.put_traffic(*object),
            Change::Workload(workload) => self.store.put_workload(*workload),
            Change::Service(service) => self.store.put_service(service),
            Change::Local(local) => self.store.put_local(local),
        }
    }

    /// The mesh's trust domain is the default of every identity: what was read under another is read again.
    fn reread(&mut self) {
        for kind in [Kind::Address, Kind::LocalWorkload] {
            let held = std::mem::take(&mut self.held[kind.index()].resources);
            for entry in &held {
                match decode::resource(kind, &resource(kind, entry), &self.trust_domain) {
                    Ok(change) => self.put(change),
                    Err(_reason) => self.forget(kind, entry.0),
                }
            }
            self.held[kind.index()].resources = held;
        }
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        self.held[kind.index()].resources.remove(name);
        self.forget(kind, name);
    }

    fn forget(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Mesh => {}
            Kind::Authorization => self.store.remove_policy(&PolicyName::new(name)),
            Kind::Traffic => self.store.remove_traffic(name),
            // The name says which of the two it is only by its form; the other has no such key.
            Kind::Address => {
                self.store.remove_workload(&WorkloadUid::new(name));
                self.store.remove_service(&ServiceKey::new(name));
            }
            Kind::LocalWorkload => self.store.remove_local(&PodUid::new(name)),
        }
    }
}

/// As it may be written to a disk. What differs from what was sent has no version, so that it is sent again.
fn saved(kind: Kind, held: (&String, &(String, Vec<u8>))) -> Resource {
    let whole = resource(kind, held);
    if kind != Kind::Traffic {
        return whole;
    }
    let object = match decode::resource(kind, &whole, "") {
        Ok(Change::Traffic(object)) => object.without_keys(),
        _ => None,
    };
    let Some(object) = object else { return whole };
    // What cannot be written is saved as what cannot be read: never with the key.
    let json = serde_json::to_vec(&object).unwrap_or_default();
    let value = heddle_proto::heddle::v1::TrafficObject { json }.encode_to_vec();
    resource(kind, (held.0, &(String::new(), value)))
}

fn resource(kind: Kind, (name, (version, bytes)): (&String, &(String, Vec<u8>))) -> Resource {
    let any = Any { type_url: kind.url().to_owned(), value: bytes.clone() };
    Resource { name: name.clone(), version: version.clone(), resource: Some(any), aliases: Vec::new() }
}
