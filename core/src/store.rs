//! The mutable side of configuration: one owner applies whole updates to it and publishes snapshots.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{Generation, PodUid, PolicyName, ServiceKey, WorkloadUid};
use crate::object::TrafficObject;
use crate::policy::{Cidr, Policy};
use crate::route::model::Retries;
use crate::route::{Compiler, Inputs, RouteTables};
use crate::snapshot::Snapshot;
use crate::upstream::Destinations;
use crate::upstream::model::Locality;
use crate::workload::{LocalWorkload, Service, Workload};

mod claims;

#[cfg(test)]
mod tests;

use claims::Claims;

/// Facts about the whole mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshFacts {
    /// For example `cluster.local`; also the default of every identity.
    pub trust_domain: String,
    /// For example `cluster.local`.
    pub cluster_domain: String,
    /// Inside these an unknown destination is held, then refused; never sent in clear by guess.
    pub cluster_ranges: Vec<Cidr>,
    /// Outside them unknown destinations are refused too.
    pub registry_only: bool,
    /// How traffic is treated where no object says otherwise.
    pub traffic: MeshTraffic,
    /// Namespaces in which a pod that nobody knows yet must not start uncaptured; sorted.
    pub enrolled_namespaces: Vec<String>,
}

/// Defaults for traffic, from the mesh config. On the wire this is JSON in `heddle.v1.Mesh.traffic`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MeshTraffic {
    /// `defaultHttpRetryPolicy`; `None`: 2 attempts on Istio's default conditions.
    pub retries: Option<Retries>,
    /// `localityLbSetting`.
    pub locality: Option<Locality>,
    /// `connectTimeout`.
    pub connect_timeout: Option<Duration>,
    /// `accessLogFile: ""`; what is not said leaves the access log on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub access_log_off: bool,
    /// `accessLogEncoding: JSON`.
    pub access_log_json: bool,
    /// `accessLogFormat`; `None`: Istio's default.
    pub access_log_format: Option<String>,
    /// `pathNormalization.normalization`; `None`: the strictest, decoded and merged slashes.
    pub path_normalization: Option<String>,
}

/// Everything an agent knows. Tables are shared with published snapshots and copied when written while shared.
#[derive(Clone, Debug, Default)]
pub struct Store {
    generation: Generation,
    mesh: Arc<MeshFacts>,
    workloads: Arc<Workloads>,
    services: Arc<Services>,
    /// What is in force: of `connection_policies` and `request_policies`, the latter where there is one.
    policies: Arc<HashMap<PolicyName, Arc<Policy>>>,
    /// From Authorization resources: no more than what can be asked of a connection.
    connection_policies: HashMap<PolicyName, Arc<Policy>>,
    /// From traffic objects: the whole policy.
    request_policies: HashMap<PolicyName, Arc<Policy>>,
    locals: Arc<HashMap<PodUid, Arc<LocalWorkload>>>,
    traffic: Arc<HashMap<Box<str>, Arc<TrafficObject>>>,
    routes: Arc<RouteTables>,
    destinations: Arc<Destinations>,
    /// DestinationRules or ServiceEntries have changed since `destinations` was made.
    stale_destinations: bool,
    compiler: Compiler,
    /// What `routes` is made of has changed since.
    stale_routes: bool,
}

/// Workloads by key and by address.
#[derive(Clone, Debug, Default)]
pub struct Workloads {
    pub(crate) by_uid: HashMap<WorkloadUid, Arc<Workload>>,
    pub(crate) by_address: Claims<Workload>,
    /// Endpoints of each service, whether or not the service is known yet; ordered, so that a number picks the same
    /// endpoint of the same set whatever came before.
    pub(crate) endpoints: HashMap<ServiceKey, Members>,
    /// Counts changes of any of these.
    changes: u64,
}

/// Endpoints of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    pub(crate) uids: BTreeSet<WorkloadUid>,
    /// Changes whenever one comes, goes or changes.
    pub(crate) version: u64,
}

/// Services by key and by address.
#[derive(Clone, Debug, Default)]
pub struct Services {
    pub(crate) by_key: HashMap<ServiceKey, Arc<Service>>,
    pub(crate) by_address: Claims<Service>,
    /// Services of one host name: several where namespaces define the same one.
    pub(crate) by_host: HashMap<Arc<str>, BTreeSet<ServiceKey>>,
}

impl Store {
    /// Mesh-wide facts.
    pub fn set_mesh(&mut self, mesh: MeshFacts) {
        self.mesh = Arc::new(mesh);
        self.stale_routes = true;
    }

    /// Adds or replaces a workload. Of two that claim one address, the later has it.
    pub fn put_workload(&mut self, workload: Workload) {
        if self.workloads.by_uid.get(&workload.uid).is_some_and(|known| **known == workload) {
            return;
        }
        let tables = Arc::make_mut(&mut self.workloads);
        let workload = Arc::new(workload);
        let same = |other: &Workload| other.uid == workload.uid;
        if let Some(old) = tables.by_uid.insert(workload.uid.clone(), Arc::clone(&workload)) {
            tables.leave_services(&old);
            for address in old.claimed().filter(|address| !workload.claims(*address)) {
                tables.by_address.release(address, same);
            }
        }
        for address in workload.claimed() {
            tables.by_address.claim(address, &workload, same);
        }
        for (service, _) in &workload.services {
            tables.changes += 1;
            let members = tables.endpoints.entry(service.clone()).or_default();
            members.version = tables.changes;
            members.uids.insert(workload.uid.clone());
        }
    }

    /// Removes a workload; an address that another claims too is the other's then.
    pub fn remove_workload(&mut self, uid: &WorkloadUid) {
        if !self.workloads.by_uid.contains_key(uid) {
            return;
        }
        let tables = Arc::make_mut(&mut self.workloads);
        let Some(old) = tables.by_uid.remove(uid) else { return };
        for address in old.claimed() {
            tables.by_address.release(address, |other| other.uid == *uid);
        }
        tables.leave_services(&old);
    }

    /// Adds or replaces a service. Of two that claim one address, the later has it.
    pub fn put_service(&mut self, service: Service) {
        self.stale_routes = true;
        let tables = Arc::make_mut(&mut self.services);
        let service = Arc::new(service);
        let same = |other: &Service| other.key == service.key;
        if let Some(old) = tables.by_key.insert(service.key.clone(), Arc::clone(&service)) {
            tables.leave_host(&old);
            for address in old.addresses.iter().filter(|address| !service.addresses.contains(*address)) {
                tables.by_address.release(*address, same);
            }
        }
        tables.by_host.entry(service.hostname.clone()).or_default().insert(service.key.clone());
        for address in &service.addresses {
            tables.by_address.claim(*address, &service, same);
        }
    }

    /// Removes a service; an address that another claims too is the other's then.
    pub fn remove_service(&mut self, key: &ServiceKey) {
        if !self.services.by_key.contains_key(key) {
            return;
        }
        self.stale_routes = true;
        let tables = Arc::make_mut(&mut self.services);
        let Some(old) = tables.by_key.remove(key) else { return };
        tables.leave_host(&old);
        for address in &old.addresses {
            tables.by_address.release(*address, |other| other.key == *key);
        }
    }

    /// Adds or replaces a policy on connections. It counts for as long as no traffic object says the same policy in full,
    /// whichever of the two came first.
    pub fn put_policy(&mut self, policy: Policy) {
        let name = policy.name.clone();
        self.connection_policies.insert(name.clone(), Arc::new(policy));
        self.settle_policy(&name);
    }

    /// Removes a policy on connections. A workload that still names it is denied everything, unless a traffic object is left.
    pub fn remove_policy(&mut self, name: &PolicyName) {
        self.connection_policies.remove(name);
        self.settle_policy(name);
    }

    /// Adds or replaces an object about traffic, by its name on the wire. Policies among them also stand among the policies:
    /// what asks nothing of requests is judged with connections.
    pub fn put_traffic(&mut self, object: TrafficObject) {
        if let TrafficObject::Policy(policy) = &object {
            self.request_policies.insert(policy.name.clone(), Arc::new(policy.clone()));
            self.settle_policy(&policy.name);
        }
        self.stale_routes |= makes_routes(&object);
        self.stale_destinations |= object.is_destination();
        let replaced = Arc::make_mut(&mut self.traffic).insert(object.wire_name().into(), Arc::new(object));
        self.stale_destinations |= replaced.is_some_and(|object| object.is_destination());
    }

    /// Removes one.
    pub fn remove_traffic(&mut self, name: &str) {
        if !self.traffic.contains_key(name) {
            return;
        }
        let removed = Arc::make_mut(&mut self.traffic).remove(name);
        self.stale_destinations |= removed.as_ref().is_some_and(|object| object.is_destination());
        self.stale_routes |= removed.as_deref().is_some_and(makes_routes);
        if let Some(TrafficObject::Policy(policy)) = removed.as_deref() {
            self.request_policies.remove(&policy.name);
            self.settle_policy(&policy.name);
        }
    }

    fn settle_policy(&mut self, name: &PolicyName) {
        let policy = self.request_policies.get(name).or_else(|| self.connection_policies.get(name));
        match policy {
            Some(policy) => drop(Arc::make_mut(&mut self.policies).insert(name.clone(), policy.clone())),
            None => drop(Arc::make_mut(&mut self.policies).remove(name)),
        }
    }

    /// Adds or replaces a pod of this node.
    pub fn put_local(&mut self, local: LocalWorkload) {
        Arc::make_mut(&mut self.locals).insert(local.pod_uid.clone(), Arc::new(local));
    }

    /// Removes a pod of this node.
    pub fn remove_local(&mut self, uid: &PodUid) {
        Arc::make_mut(&mut self.locals).remove(uid);
    }

    /// Publishes: a new generation of everything, at the price of a few reference counts and of compiling what has changed.
    pub fn publish(&mut self) -> Arc<Snapshot> {
        self.generation.0 += 1;
        if std::mem::take(&mut self.stale_destinations) {
            self.destinations = Arc::new(Destinations::new(self.traffic.values()));
        }
        if std::mem::take(&mut self.stale_routes) {
            let inputs = Inputs { mesh: &self.mesh, services: &self.services, traffic: &self.traffic };
            self.routes = Arc::new(self.compiler.build(&inputs));
        }
        Arc::new(Snapshot {
            generation: self.generation,
            mesh: Arc::clone(&self.mesh),
            workloads: Arc::clone(&self.workloads),
            services: Arc::clone(&self.services),
            policies: Arc::clone(&self.policies),
            locals: Arc::clone(&self.locals),
            traffic: Arc::clone(&self.traffic),
            routes: Arc::clone(&self.routes),
            destinations: Arc::clone(&self.destinations),
        })
    }
}

/// Whether an object has a say in which routes there are.
fn makes_routes(object: &TrafficObject) -> bool {
    matches!(object, TrafficObject::Route(_) | TrafficObject::ServiceEntry(_))
}

impl Workloads {
    fn leave_services(&mut self, workload: &Workload) {
        for (service, _) in &workload.services {
            self.changes += 1;
            if let Some(members) = self.endpoints.get_mut(service) {
                members.version = self.changes;
                members.uids.remove(&workload.uid);
                if members.uids.is_empty() {
                    self.endpoints.remove(service);
                }
            }
        }
    }
}

impl Services {
    fn leave_host(&mut self, service: &Service) {
        if let Some(keys) = self.by_host.get_mut(&service.hostname) {
            keys.remove(&service.key);
            if keys.is_empty() {
                self.by_host.remove(&service.hostname);
            }
        }
    }
}

impl Workload {
    /// The addresses that are its own: those of a node belong to no workload.
    fn claimed(&self) -> impl Iterator<Item = std::net::IpAddr> {
        self.addresses.iter().copied().filter(|_| !self.host_network)
    }

    fn claims(&self, address: std::net::IpAddr) -> bool {
        self.claimed().any(|own| own.to_canonical() == address.to_canonical())
    }
}
