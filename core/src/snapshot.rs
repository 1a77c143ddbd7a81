//! One immutable view of the configuration; a connection takes one and never looks again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::names::{Generation, PodUid, PolicyName, ServiceKey, WorkloadUid};
use crate::object::TrafficObject;
use crate::policy::Policy;
use crate::route::RouteTables;
use crate::store::{MeshFacts, Services, Workloads};
use crate::workload::{LocalWorkload, Service, Workload};

/// Configuration as of one generation. Made by [`crate::store::Store::publish`].
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) generation: Generation,
    pub(crate) mesh: Arc<MeshFacts>,
    pub(crate) workloads: Arc<Workloads>,
    pub(crate) services: Arc<Services>,
    pub(crate) policies: Arc<HashMap<PolicyName, Arc<Policy>>>,
    pub(crate) locals: Arc<HashMap<PodUid, Arc<LocalWorkload>>>,
    pub(crate) traffic: Arc<HashMap<Box<str>, Arc<TrafficObject>>>,
    pub(crate) routes: Arc<RouteTables>,
}

impl Snapshot {
    /// Which publication this is.
    pub fn generation(&self) -> Generation {
        self.generation
    }
    /// Mesh-wide facts.
    pub fn mesh(&self) -> &MeshFacts {
        &self.mesh
    }
    /// The workload of an address; a hint, never an identity.
    pub fn workload_at(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.workloads.by_address.get(address)
    }
    /// A workload by key.
    pub fn workload(&self, uid: &WorkloadUid) -> Option<&Arc<Workload>> {
        self.workloads.by_uid.get(uid)
    }
    /// All workloads, in no order.
    pub fn workloads(&self) -> impl ExactSizeIterator<Item = &Arc<Workload>> {
        self.workloads.by_uid.values()
    }
    /// The service of a virtual address.
    pub fn service_at(&self, address: IpAddr) -> Option<&Arc<Service>> {
        self.services.by_address.get(address)
    }
    /// A service by key.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.by_key.get(key)
    }
    /// All services, in no order.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.services.by_key.values()
    }
    /// Endpoints of a service, in the order of their keys.
    pub fn endpoints(&self, key: &ServiceKey) -> impl Iterator<Item = &Arc<Workload>> {
        let uids = self.workloads.endpoints.get(key).into_iter().flatten();
        uids.filter_map(|uid| self.workloads.by_uid.get(uid))
    }
    /// A policy by name.
    pub fn policy(&self, name: &PolicyName) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }
    /// All policies, in no order.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &Arc<Policy>> {
        self.policies.values()
    }
    /// Objects about traffic, in no order.
    pub fn traffic(&self) -> impl ExactSizeIterator<Item = &Arc<TrafficObject>> {
        self.traffic.values()
    }
    /// The routes in force.
    pub fn routes(&self) -> &RouteTables {
        &self.routes
    }
    /// A pod of this node.
    pub fn local(&self, uid: &PodUid) -> Option<&Arc<LocalWorkload>> {
        self.locals.get(uid)
    }
    /// The pods of this node, in no order.
    pub fn locals(&self) -> impl ExactSizeIterator<Item = &Arc<LocalWorkload>> {
        self.locals.values()
    }
}
