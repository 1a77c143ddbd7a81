//! A small mesh to ask about.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use heddle_core::identity::Identity;
use heddle_core::names::{NodeName, ServiceKey, WorkloadUid};
use heddle_core::object::{ExportTo, Labels, ObjectRef, TrafficObject};
use heddle_core::snapshot::Snapshot;
use heddle_core::store::Store;
use heddle_core::upstream::model::*;
use heddle_core::upstream::{Client, Cluster, ClusterKey, Resolved};
use heddle_core::workload::{PortMapping, Service, Tunnel, Workload};

pub(crate) const WEB: &str = "web.n.svc.cluster.local";

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A pod of `web` on port 80 → 8080, `key=value,…` for its labels.
pub(crate) fn pod(number: u8, text: &str) -> Workload {
    let pairs: Vec<(&str, &str)> = text.split(',').filter_map(|pair| pair.split_once('=')).collect();
    let port = PortMapping { service_port: 80, target_port: 8080, protocol: Protocol::Http };
    Workload {
        uid: WorkloadUid::new(format!("c//Pod/n/web-{number}")),
        name: format!("web-{number}").into(),
        identity: Identity::new("cluster.local", "n", "web").unwrap(),
        addresses: Box::new([IpAddr::from([10, 244, 1, number])]),
        tunnel: Tunnel::Hbone,
        plaintext_ports: Box::new([]),
        node: NodeName::new("node-1"),
        canonical_name: "web".into(),
        canonical_revision: "latest".into(),
        workload_name: "web".into(),
        services: Box::new([(ServiceKey::new(format!("n/{WEB}")), Box::new([port]))]),
        policies: Box::new([]),
        healthy: true,
        host_network: false,
        labels: labels(&pairs),
        locality: Default::default(),
        weight: 1,
    }
}

pub(crate) fn at(locality: &str, workload: Workload) -> Workload {
    let mut parts = locality.split('/');
    let locality = std::array::from_fn(|_| parts.next().unwrap_or("").into());
    Workload { locality, ..workload }
}

/// A service of one port, 80; without an address it is headless.
pub(crate) fn service(namespace: &str, host: &str, address: Option<&str>) -> Service {
    Service {
        key: ServiceKey::new(format!("{namespace}/{host}")),
        name: host.split('.').next().unwrap().into(),
        namespace: namespace.into(),
        hostname: host.into(),
        addresses: address.iter().map(|text| text.parse().unwrap()).collect(),
        ports: Box::new([PortMapping { service_port: 80, target_port: 0, protocol: Protocol::Http }]),
        l7: None,
        unready: false,
        routing: None,
        export_to: ExportTo::All,
    }
}

/// `namespace/name` of a DestinationRule for a host.
pub(crate) fn rule(place: &str, host: &str, policy: TrafficPolicy) -> DestinationRule {
    DestinationRule {
        source: ObjectRef::named("DestinationRule", place),
        created: 0,
        host: host.to_owned(),
        export_to: ExportTo::All,
        workload_selector: None,
        policy,
        ports: BTreeMap::new(),
        subsets: Vec::new(),
    }
}

pub(crate) fn subset(name: &str, pairs: &[(&str, &str)], policy: TrafficPolicy) -> Subset {
    Subset { name: name.to_owned(), labels: labels(pairs), policy, ports: BTreeMap::new() }
}

/// A policy that can be told by its number.
pub(crate) fn numbered(connections: u32) -> TrafficPolicy {
    let pool = ConnectionPool { max_connections: Some(connections), ..ConnectionPool::default() };
    TrafficPolicy { connection_pool: Some(pool), ..TrafficPolicy::default() }
}

pub(crate) fn balanced(algorithm: Algorithm) -> TrafficPolicy {
    let balancer = LoadBalancer { algorithm, locality: None, warmup: None };
    TrafficPolicy { load_balancer: Some(balancer), ..TrafficPolicy::default() }
}

pub(crate) fn number(cluster: &Cluster) -> Option<u32> {
    cluster.policy.connection_pool.as_ref().and_then(|pool| pool.max_connections)
}

pub(crate) fn to(names: &[&str]) -> ExportTo {
    ExportTo::Namespaces(names.iter().map(|name| (*name).to_owned()).collect())
}

/// The service `web` with these pods, and these rules.
pub(crate) fn world(pods: impl IntoIterator<Item = Workload>, rules: Vec<DestinationRule>) -> Arc<Snapshot> {
    let mut store = Store::default();
    store.put_service(service("n", WEB, Some("10.96.0.1")));
    pods.into_iter().for_each(|pod| store.put_workload(pod));
    rules.into_iter().for_each(|rule| store.put_traffic(TrafficObject::DestinationRule(rule)));
    store.publish()
}

/// What a client of a namespace, `region/zone/subzone` and labels has.
pub(crate) fn cluster_for(
    snapshot: &Snapshot,
    namespace: &str,
    place: &str,
    pairs: &[(&str, &str)],
    key: &ClusterKey,
) -> Cluster {
    let mut parts = place.split('/');
    let locality = std::array::from_fn(|_| parts.next().unwrap_or(""));
    let labels = labels(pairs);
    let client = Client { namespace, labels: &labels, locality, node: "node-1", addresses: &[] };
    Cluster::build(snapshot, &client, key, &Resolved::new())
}

/// What a client of namespace `c` has of `web`.
pub(crate) fn web(snapshot: &Snapshot) -> Cluster {
    cluster_for(snapshot, "c", "", &[], &ClusterKey::new(WEB, 80))
}

/// Names of the endpoints, or their addresses, with their priority where it is not 0.
pub(crate) fn names(cluster: &Cluster) -> Vec<String> {
    let name = |endpoint: &Arc<heddle_core::upstream::Endpoint>| match endpoint.priority {
        0 => endpoint.name().to_string(),
        priority => format!("{}@{priority}", endpoint.name()),
    };
    cluster.endpoints.iter().map(name).collect()
}
