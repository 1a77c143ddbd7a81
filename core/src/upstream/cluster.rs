//! A destination as one client sees it: its endpoints and how they are treated.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::names::PolicyName;
use crate::object::ObjectRef;
use crate::policy::Policy;
use crate::snapshot::Snapshot;
use crate::store::{MeshFacts, Services, Workloads};
use crate::upstream::destinations::Destinations;
use crate::upstream::endpoint::{Client, Endpoint, Excluded, Exclusion, Transport};
use crate::upstream::locality::{self, LocalityShare};
use crate::upstream::members::Members;
use crate::upstream::model::{
    Algorithm, Locality, Protocol, Resolution, ServiceEntry, Subset, TlsMode, TrafficPolicy,
};
use crate::upstream::rules::MergedRule;
use crate::upstream::transport::Transports;
use crate::workload::Service;

/// Addresses of the names that clusters ask for, by name.
pub type Resolved = HashMap<Arc<str>, Arc<[IpAddr]>>;

/// Istio's `connectTimeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A host, a port of it, and a subset. Displayed it is the name that Istio gives the cluster: `outbound|80|v1|host`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterKey {
    /// Fully qualified.
    pub host: Arc<str>,
    /// Port of the service.
    pub port: u16,
    /// Of the host's DestinationRule.
    pub subset: Option<Arc<str>>,
}

impl ClusterKey {
    /// The whole host.
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self { host: host.into(), port, subset: None }
    }

    /// A subset of it.
    pub fn subset(host: impl Into<Arc<str>>, port: u16, subset: impl Into<Arc<str>>) -> Self {
        Self { host: host.into(), port, subset: Some(subset.into()) }
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outbound|{}|{}|{}", self.port, self.subset.as_deref().unwrap_or(""), self.host)
    }
}

/// How the endpoints of a cluster are found, in Envoy's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discovery {
    /// `EDS`: from the control plane.
    #[default]
    Eds,
    /// `STRICT_DNS`: all addresses of its names.
    StrictDns,
    /// `LOGICAL_DNS`: one address of its name for each new connection.
    LogicalDns,
    /// `ORIGINAL_DST`: as dialled.
    OriginalDst,
}

/// A destination as one client sees it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Which.
    pub key: ClusterKey,
    /// `outbound|80|v1|host`.
    pub name: Arc<str>,
    /// The service, where the registry has it.
    pub service: Option<Arc<Service>>,
    /// The ServiceEntry that speaks for the host, if one does.
    pub entry: Option<ObjectRef>,
    /// What the port declares.
    pub protocol: Protocol,
    /// How it is treated: every DestinationRule of the host, merged for this port and subset.
    pub policy: Arc<TrafficPolicy>,
    /// DestinationRules that the policy and the subsets are made of.
    pub rules: Vec<ObjectRef>,
    /// Until a connection must be there: of the policy, else the mesh's, else 10 s.
    pub connect_timeout: Duration,
    /// How endpoints are found.
    pub discovery: Discovery,
    /// Where requests may go.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How much goes to which place; empty: places only count by their priority.
    pub shares: Vec<LocalityShare>,
    /// The host's other endpoints, and why they are not among those.
    pub excluded: Vec<Excluded>,
    /// The subset is not there: requests are answered 503 `NC`.
    pub missing_subset: bool,
    /// `MESH_EXTERNAL`.
    pub external: bool,
    /// Names that the endpoints depend on: to be resolved, and the cluster built again.
    pub names: Vec<Box<str>>,
    /// What [`Cluster::as_dialled`] looks at.
    dialled: Option<Dialled>,
    basis: Basis,
}

/// What a cluster was made from. Weak: one that nobody uses any more must not keep the tables of its day.
#[derive(Clone, Debug)]
struct Basis {
    namespace: Box<str>,
    destinations: Weak<Destinations>,
    mesh: Weak<MeshFacts>,
    /// Of the service's endpoints.
    members: u64,
    workloads: Weak<Workloads>,
    services: Weak<Services>,
    policies: Weak<HashMap<PolicyName, Arc<Policy>>>,
}

/// Who has which address, for clusters that go by what was dialled.
#[derive(Clone, Debug)]
struct Dialled {
    workloads: Weak<Workloads>,
    mesh: Arc<MeshFacts>,
    transports: Transports,
    positions: HashMap<SocketAddr, usize>,
}

impl Cluster {
    /// Builds it for a client from everything that is known. `resolved` has the addresses of [`Cluster::names`], as
    /// far as they are known yet.
    pub fn build(snapshot: &Snapshot, client: &Client<'_>, key: &ClusterKey, resolved: &Resolved) -> Self {
        let found = Found::look_up(snapshot, client, key);
        let mut cluster = found.start(snapshot, client, key);
        if cluster.missing_subset {
            let name = cluster.key.subset.clone().unwrap_or_default();
            let why = Exclusion::NoSubset(name.as_ref().to_owned());
            cluster.excluded.push(Excluded { name, address: None, why });
            return cluster;
        }
        let names = found.entry.map(|entry| entry.subject_alt_names.as_slice()).unwrap_or_default();
        let owner = cluster.rules.first().map(|rule| rule.namespace.as_str());
        let own_secrets = owner.is_none_or(|owner| owner == client.namespace);
        let transports = Transports::new(snapshot, &cluster.policy, (cluster.external, own_secrets), names);
        let mut members =
            Members::new(snapshot, &transports, key.port, found.subset.map(|subset| &subset.labels));
        if let Some(entry) = found.entry {
            members.add_entry(entry, &key.host, (client, resolved));
        }
        if let Some(service) = found.service {
            members.add_workloads(service, client);
        }
        let Members { endpoints, excluded, names, .. } = members;
        (cluster.excluded, cluster.names) = (excluded, names);
        cluster.settle(endpoints, client, snapshot.mesh().traffic.locality.as_ref());
        if cluster.discovery == Discovery::OriginalDst {
            let (workloads, mesh) = (Arc::downgrade(&snapshot.workloads), Arc::clone(&snapshot.mesh));
            let positions =
                cluster.endpoints.iter().enumerate().map(|(at, it)| (canonical(it.address), at)).collect();
            cluster.dialled = Some(Dialled { workloads, mesh, transports, positions });
        }
        cluster
    }

    /// Priorities and shares by place.
    fn settle(&mut self, mut endpoints: Vec<Endpoint>, client: &Client<'_>, mesh: Option<&Locality>) {
        let routing = self.service.as_ref().and_then(|service| service.routing.as_ref());
        let excluded = |endpoint: Endpoint, why: Exclusion| Excluded {
            name: endpoint.name(),
            address: Some(endpoint.address),
            why,
        };
        if let Some(routing) = routing.filter(|routing| routing.strict) {
            let (near, far) = endpoints
                .into_iter()
                .partition(|endpoint| locality::shares(endpoint, client, &routing.scopes));
            endpoints = near;
            let far: Vec<Endpoint> = far;
            self.excluded.extend(far.into_iter().map(|endpoint| excluded(endpoint, Exclusion::Elsewhere)));
        }
        // Istio asks the rule first, then the service, then the mesh. A service's preference needs no outlier detection.
        let own = self.policy.load_balancer.as_ref().and_then(|balancer| balancer.locality.as_ref());
        let preferred = routing.filter(|routing| own.is_none() && !routing.strict).map(locality::preference);
        let failover = self.policy.outlier_detection.is_some() || preferred.is_some();
        let default = Locality::default();
        let setting = own.or(preferred.as_ref()).or(mesh).unwrap_or(&default);
        let (shares, left) = locality::arrange(&mut endpoints, client, setting, failover);
        self.excluded.extend(left.into_iter().map(|endpoint| excluded(endpoint, Exclusion::Locality)));
        self.shares = shares;
        self.endpoints = endpoints.into_iter().map(Arc::new).collect();
    }

    /// Whether it would come out the same for the same client now: nothing that it is made of has changed. Cheap, so that
    /// it can be asked for each request; answers of DNS do not count here.
    pub fn is_current(&self, snapshot: &Snapshot) -> bool {
        let basis = &self.basis;
        let service = snapshot.service_named(&self.key.host, &basis.namespace);
        let members = || service.map_or(0, |service| snapshot.endpoints_version(&service.key));
        // What looks further than the service's own endpoints.
        let far = self.entry.is_some() || self.dialled.is_some();
        let plaintext = self.policy.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::Disable);
        std::ptr::eq(basis.destinations.as_ptr(), Arc::as_ptr(&snapshot.destinations))
            && std::ptr::eq(basis.mesh.as_ptr(), Arc::as_ptr(&snapshot.mesh))
            && service.map(Arc::as_ptr) == self.service.as_ref().map(Arc::as_ptr)
            && members() == basis.members
            && (!far || std::ptr::eq(basis.workloads.as_ptr(), Arc::as_ptr(&snapshot.workloads)))
            && (!far || std::ptr::eq(basis.services.as_ptr(), Arc::as_ptr(&snapshot.services)))
            && (!(far || plaintext) || std::ptr::eq(basis.policies.as_ptr(), Arc::as_ptr(&snapshot.policies)))
    }

    /// Whether the host and the subset are there at all; where not, requests are answered 503 `NC`.
    pub fn is_known(&self) -> bool {
        (self.service.is_some() || self.entry.is_some()) && !self.missing_subset
    }

    /// How requests are spread.
    pub fn algorithm(&self) -> Algorithm {
        self.policy.load_balancer.as_ref().map(|balancer| balancer.algorithm.clone()).unwrap_or_default()
    }

    /// Whether what was dialled decides.
    pub fn goes_as_dialled(&self) -> bool {
        self.dialled.is_some()
    }

    /// An address that was dialled, as an endpoint: one of the cluster's, else whoever is there. `None` where the
    /// cluster does not go by that, or where it is a virtual address of the service, which stands for all endpoints.
    pub fn as_dialled(&self, dialled: SocketAddr) -> Option<Arc<Endpoint>> {
        self.find_dialled(dialled).map(|(_, endpoint)| endpoint)
    }

    /// The same, and its position among the endpoints.
    pub(crate) fn find_dialled(&self, dialled: SocketAddr) -> Option<(Option<usize>, Arc<Endpoint>)> {
        let Dialled { workloads, mesh, transports, positions } = self.dialled.as_ref()?;
        let address = canonical(dialled);
        let ip = address.ip();
        let stands_for_all = self.service.as_ref().is_some_and(|service| service.addresses.contains(&ip));
        if stands_for_all && !self.endpoints.is_empty() {
            return None;
        }
        if let Some(at) = positions.get(&address) {
            return Some((Some(*at), Arc::clone(&self.endpoints[*at])));
        }
        // The tables of the day are gone: ask again with a cluster of today, and guess nothing.
        let workloads = workloads.upgrade();
        let workload = workloads.as_ref().and_then(|workloads| workloads.by_address.get(ip));
        let inside = || mesh.cluster_ranges.iter().any(|range| range.contains(ip));
        let transport = match workload {
            None if workloads.is_none() => Transport::Refused("the cluster is out of date".into()),
            None if inside() => {
                Transport::Refused("inside the cluster's ranges, and nobody has announced it".into())
            }
            _ => transports.of(workload.map(|workload| &**workload), address.port()),
        };
        let endpoint = Endpoint {
            workload: workload.cloned(),
            address,
            transport,
            weight: 1,
            priority: 0,
            locality: workload.map(|workload| workload.locality.clone()).unwrap_or_default(),
            listed: Default::default(),
        };
        Some((None, Arc::new(endpoint)))
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What speaks for a host, as a client sees it.
struct Found<'a> {
    service: Option<&'a Arc<Service>>,
    entry: Option<&'a ServiceEntry>,
    merged: Option<&'a MergedRule>,
    subset: Option<&'a Subset>,
}

impl<'a> Found<'a> {
    fn look_up(snapshot: &'a Snapshot, client: &Client<'_>, key: &ClusterKey) -> Self {
        let service = snapshot.service_named(&key.host, client.namespace);
        let home = service.map(|service| &*service.namespace);
        let entry = snapshot.destinations().entry(client, home, &key.host);
        let home = home.or(entry.map(|entry| entry.source.namespace.as_str()));
        let merged = snapshot.destinations().rule(client, home, &key.host);
        let subset = key.subset.as_deref().and_then(|name| merged?.subset(name));
        Self { service, entry, merged, subset }
    }

    /// A cluster without endpoints.
    fn start(&self, snapshot: &Snapshot, client: &Client<'_>, key: &ClusterKey) -> Cluster {
        let policy = self.merged.map(|merged| merged.policy(key.port, self.subset)).unwrap_or_default();
        let own_timeout = policy.connection_pool.as_ref().and_then(|pool| pool.connect_timeout);
        let service = self.service.map(|service| &**service);
        Cluster {
            key: key.clone(),
            name: key.to_string().into(),
            service: self.service.cloned(),
            entry: self.entry.map(|entry| entry.source.clone()),
            protocol: protocol(service, self.entry, key.port),
            rules: self.merged.map(|merged| merged.from.clone()).unwrap_or_default(),
            connect_timeout: own_timeout
                .or(snapshot.mesh().traffic.connect_timeout)
                .unwrap_or(CONNECT_TIMEOUT),
            discovery: discovery(service, self.entry, &policy),
            endpoints: Vec::new(),
            shares: Vec::new(),
            excluded: Vec::new(),
            missing_subset: key.subset.is_some() && self.subset.is_none(),
            external: self.entry.is_some_and(|entry| entry.external),
            names: Vec::new(),
            policy: Arc::new(policy),
            dialled: None,
            basis: Basis {
                namespace: client.namespace.into(),
                destinations: Arc::downgrade(&snapshot.destinations),
                mesh: Arc::downgrade(&snapshot.mesh),
                members: self.service.map_or(0, |service| snapshot.endpoints_version(&service.key)),
                workloads: Arc::downgrade(&snapshot.workloads),
                services: Arc::downgrade(&snapshot.services),
                policies: Arc::downgrade(&snapshot.policies),
            },
        }
    }
}

fn protocol(service: Option<&Service>, entry: Option<&ServiceEntry>, port: u16) -> Protocol {
    let of_service = service
        .and_then(|service| service.ports.iter().find(|known| known.service_port == port))
        .map(|port| port.protocol);
    let of_entry = || entry.and_then(|entry| entry.ports.iter().find(|known| known.number == port));
    match of_service.filter(|protocol| *protocol != Protocol::Unknown) {
        Some(protocol) => protocol,
        None => of_entry().map(|port| port.protocol).unwrap_or_default(),
    }
}

/// As Istio's `convertResolution`; a headless service is dialled by its pods' addresses.
fn discovery(service: Option<&Service>, entry: Option<&ServiceEntry>, policy: &TrafficPolicy) -> Discovery {
    if policy.load_balancer.as_ref().is_some_and(|balancer| balancer.algorithm == Algorithm::Passthrough) {
        return Discovery::OriginalDst;
    }
    match entry.map(|entry| entry.resolution) {
        Some(Resolution::None) => Discovery::OriginalDst,
        Some(Resolution::Static) => Discovery::Eds,
        Some(Resolution::Dns) => Discovery::StrictDns,
        Some(Resolution::DnsRoundRobin) => Discovery::LogicalDns,
        None if service.is_some_and(|service| service.addresses.is_empty()) => Discovery::OriginalDst,
        None => Discovery::Eds,
    }
}
