//! A destination as one client sees it: its endpoints and how they are treated.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::object::ObjectRef;
use crate::snapshot::Snapshot;
use crate::upstream::endpoint::{Client, Endpoint, Excluded, Exclusion, Transport};
use crate::upstream::model::{Protocol, TrafficPolicy};
use crate::workload::Service;

/// Addresses of the names that clusters ask for, by name.
pub type Resolved = HashMap<Box<str>, Vec<IpAddr>>;

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
    /// From the control plane.
    #[default]
    Eds,
    /// All addresses of its names.
    StrictDns,
    /// One address of its name for each new connection.
    LogicalDns,
    /// As dialled.
    OriginalDst,
}

/// A destination as one client sees it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Which.
    pub key: ClusterKey,
    /// `outbound|80|v1|host`.
    pub name: Arc<str>,
    /// The service, where the registry has it. `None`: nobody has announced the host (503 `NC`).
    pub service: Option<Arc<Service>>,
    /// What the port declares.
    pub protocol: Protocol,
    /// How it is treated: every DestinationRule of the host, merged for this port and subset.
    pub policy: Arc<TrafficPolicy>,
    /// DestinationRules that the policy is made of.
    pub rules: Vec<ObjectRef>,
    /// How endpoints are found.
    pub discovery: Discovery,
    /// Where requests may go.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The host's other endpoints, and why they are not among those.
    pub excluded: Vec<Excluded>,
    /// The subset is not there: requests are answered 503 `NC`.
    pub missing_subset: bool,
    /// `MESH_EXTERNAL`.
    pub external: bool,
    /// Names that the endpoints depend on: to be resolved, and the cluster built again.
    pub names: Vec<Box<str>>,
}

impl Cluster {
    /// Builds it for a client from everything that is known. `resolved` has the addresses of [`Cluster::names`], as
    /// far as they are known yet.
    pub fn build(snapshot: &Snapshot, client: &Client<'_>, key: &ClusterKey, resolved: &Resolved) -> Self {
        let _ = (client, resolved);
        let service = snapshot.services().find(|service| service.hostname == key.host).cloned();
        let mut cluster = Self {
            key: key.clone(),
            name: key.to_string().into(),
            protocol: Protocol::Unknown,
            policy: Arc::default(),
            rules: Vec::new(),
            discovery: Discovery::Eds,
            endpoints: Vec::new(),
            excluded: Vec::new(),
            missing_subset: false,
            external: false,
            names: Vec::new(),
            service,
        };
        let Some(service) = cluster.service.clone() else { return cluster };
        for workload in snapshot.endpoints(&service.key) {
            let ports =
                workload.services.iter().find(|(name, _)| *name == service.key).map(|(_, ports)| ports);
            let port = ports.and_then(|ports| ports.iter().find(|port| port.service_port == key.port));
            let (Some(port), Some(ip)) = (port, workload.addresses.first()) else { continue };
            let address = SocketAddr::new(*ip, port.target_port);
            if !workload.healthy {
                let why = Exclusion::Unhealthy;
                cluster.excluded.push(Excluded { name: workload.name.clone(), address: Some(address), why });
                continue;
            }
            let tunnels = workload.tunnels(address.port());
            cluster.endpoints.push(Arc::new(Endpoint {
                address,
                transport: if tunnels { Transport::Tunnel } else { Transport::Plain },
                weight: workload.weight.max(1),
                priority: 0,
                locality: workload.locality.clone(),
                workload: Some(Arc::clone(workload)),
            }));
        }
        cluster
    }
}
