//! One immutable view of the configuration; a connection takes one and never looks again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::names::{Generation, PodUid, PolicyName, ServiceKey, WorkloadUid};
use crate::object::TrafficObject;
use crate::policy::Policy;
use crate::route::RouteTables;
use crate::store::{MeshFacts, Services, Workloads};
use crate::upstream::Destinations;
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
    pub(crate) destinations: Arc<Destinations>,
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
    /// Services of a host name, in the order of their keys: several where namespaces define the same one.
    pub fn services_named(&self, host: &str) -> impl Iterator<Item = &Arc<Service>> {
        let keys = self.services.by_host.get(host).into_iter().flatten();
        keys.filter_map(|key| self.services.by_key.get(key))
    }
    /// The service that clients of a namespace mean by a host name: their own namespace's, else the first that they see.
    pub fn service_named(&self, host: &str, client_namespace: &str) -> Option<&Arc<Service>> {
        let own = self.services_named(host).find(|service| *service.namespace == *client_namespace);
        own.or_else(|| self.services_named(host).find(|service| service.export_to.reaches(client_namespace)))
    }
    /// All services, in no order.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.services.by_key.values()
    }
    /// Endpoints of a service, in the order of their keys.
    pub fn endpoints(&self, key: &ServiceKey) -> impl Iterator<Item = &Arc<Workload>> {
        let uids = self.workloads.endpoints.get(key).into_iter().flat_map(|members| &members.uids);
        uids.filter_map(|uid| self.workloads.by_uid.get(uid))
    }
    /// Changes whenever an endpoint of a service comes, goes or changes; 0: it has none.
    pub fn endpoints_version(&self, key: &ServiceKey) -> u64 {
        self.workloads.endpoints.get(key).map_or(0, |members| members.version)
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
    /// DestinationRules and ServiceEntries in force.
    pub fn destinations(&self) -> &Destinations {
        &self.destinations
    }
    /// Whether every cluster comes out the same from both; [`crate::upstream::Cluster::is_current`] says it of one.
    pub fn same_upstreams(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.workloads, &other.workloads)
            && Arc::ptr_eq(&self.services, &other.services)
            && Arc::ptr_eq(&self.policies, &other.policies)
            && Arc::ptr_eq(&self.destinations, &other.destinations)
            && Arc::ptr_eq(&self.mesh, &other.mesh)
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
