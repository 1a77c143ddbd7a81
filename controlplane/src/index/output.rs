//! What the index yields: resources by type and node, and the pods that certificates may be made for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::input::{Key, PodInput};
use super::table::{Resource, Table};

/// Name of the one resource of type Mesh.
pub(super) const MESH: &str = "mesh";

/// A pod as the certificate authority knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRecord {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its service account.
    pub service_account: Arc<str>,
    /// Where it runs; empty until it is bound.
    pub node: Arc<str>,
    /// It has ended.
    pub terminal: bool,
    /// It uses its node's network.
    pub host_network: bool,
    /// Its labels want it in the mesh.
    pub wanted: bool,
    /// Its node is told to capture it.
    pub captured: bool,
}

impl PodRecord {
    pub(super) fn of(key: &Key, pod: &PodInput, wanted: bool, captured: bool) -> Self {
        Self {
            uid: pod.uid.as_str().into(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            service_account: pod.service_account.as_str().into(),
            node: pod.node.as_str().into(),
            terminal: pod.terminal,
            host_network: pod.host_network,
            wanted,
            captured,
        }
    }

    /// It has not ended.
    pub fn alive(&self) -> bool {
        !self.terminal
    }
}

/// All resources as of one moment; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Output {
    mesh: Table,
    authorizations: Table,
    traffic: Table,
    addresses: Table,
    locals: BTreeMap<Arc<str>, Table>,
    pods: Arc<HashMap<Arc<str>, PodRecord>>,
    by_name: Arc<BTreeMap<Key, Arc<str>>>,
}

impl Output {
    /// The one resource of type Mesh.
    pub fn mesh(&self) -> &Table {
        &self.mesh
    }
    /// Policies.
    pub fn authorizations(&self) -> &Table {
        &self.authorizations
    }
    /// Objects about traffic.
    pub fn traffic(&self) -> &Table {
        &self.traffic
    }
    /// Workloads and services.
    pub fn addresses(&self) -> &Table {
        &self.addresses
    }
    /// The pods of a node.
    pub fn locals(&self, node: &str) -> Option<&Table> {
        self.locals.get(node)
    }
    /// The pods of every node.
    pub fn all_locals(&self) -> impl Iterator<Item = &Table> {
        self.locals.values()
    }
    /// A pod by UID.
    pub fn pod(&self, uid: &str) -> Option<&PodRecord> {
        self.pods.get(uid)
    }
    /// All pods.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = &PodRecord> {
        self.pods.values()
    }

    /// Equal content, whatever the history. For tests of the index.
    pub fn same_content(&self, other: &Self) -> bool {
        let locals = |output: &Self| {
            let filled = output.locals.iter().filter(|(_, table)| !table.is_empty());
            filled.map(|(node, table)| (node.clone(), table.clone())).collect::<Vec<_>>()
        };
        self.mesh == other.mesh
            && self.authorizations == other.authorizations
            && self.traffic == other.traffic
            && self.addresses == other.addresses
            && locals(self) == locals(other)
            && self.pods == other.pods
    }

    pub(super) fn put_mesh(&mut self, resource: Resource) {
        self.mesh.put(MESH, resource);
    }

    pub(super) fn put_address(&mut self, name: &str, resource: Option<Resource>) {
        put(&mut self.addresses, name, resource);
    }

    pub(super) fn put_traffic(&mut self, name: &str, resource: Option<Resource>) {
        put(&mut self.traffic, name, resource);
    }

    pub(super) fn put_authorization(&mut self, name: &str, resource: Option<Resource>) {
        put(&mut self.authorizations, name, resource);
    }

    /// Sets the record of a pod and its resource on its node; gives back the record before.
    pub(super) fn put_pod(
        &mut self,
        key: &Key,
        record: PodRecord,
        local: Option<Resource>,
    ) -> Option<PodRecord> {
        let old = self.by_name.get(key).and_then(|uid| self.pods.get(uid)).cloned();
        if let Some(old) = &old
            && (old.uid != record.uid || old.node != record.node)
        {
            self.remove_pod(key);
        }
        if !record.node.is_empty() {
            let table = self.locals.entry(record.node.clone()).or_default();
            put(table, &record.uid, local);
        }
        if old.as_ref() != Some(&record) {
            Arc::make_mut(&mut self.by_name).insert(key.clone(), record.uid.clone());
            Arc::make_mut(&mut self.pods).insert(record.uid.clone(), record);
        }
        old
    }

    pub(super) fn remove_pod(&mut self, key: &Key) -> Option<PodRecord> {
        let uid = Arc::make_mut(&mut self.by_name).remove(key)?;
        let record = Arc::make_mut(&mut self.pods).remove(&uid)?;
        if let Some(table) = self.locals.get_mut(&record.node) {
            table.remove(&uid);
        }
        Some(record)
    }
}

fn put(table: &mut Table, name: &str, resource: Option<Resource>) {
    match resource {
        Some(resource) => table.put(name, resource),
        None => table.remove(name),
    };
}
