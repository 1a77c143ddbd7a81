//! `/config/endpoints`: clusters as one pod sees them, with the state of each endpoint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use heddle_core::identity::Identity;
use heddle_core::object::TrafficObject;
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::model::{Algorithm, HashKey, Protocol, Ring};
use heddle_core::upstream::{
    BudgetKind, Client, Cluster, ClusterKey, ClusterState, ClusterStates, Endpoint, Resolved, Transport,
};
use heddle_core::workload::{Service, Workload};
use serde_json::{Value, json};

/// What the agent has found out by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Learned<'a> {
    /// Health and budgets.
    pub(super) states: &'a ClusterStates,
    /// What names stand for, for the pod in question.
    pub(super) resolved: &'a Resolved,
}

/// Every cluster that a workload may send to: each port of each service and ServiceEntry that it sees, and their subsets.
pub(super) fn endpoints(snapshot: &Snapshot, workload: &Workload, learned: Learned<'_>) -> Vec<Value> {
    let client = Client::of(workload);
    let mut services: Vec<&Service> =
        snapshot.services().map(|service| &**service).filter(|each| sees(each, client.namespace)).collect();
    services.sort_by(|a, b| a.key.cmp(&b.key));
    let of_service = |service: &Service| {
        let ports: Vec<u16> = service.ports.iter().map(|port| port.service_port).collect();
        (service.hostname.clone(), ports)
    };
    let mut hosts: Vec<(Arc<str>, Vec<u16>)> = services.into_iter().map(of_service).collect();
    let entries = snapshot.routes().hosts(client.namespace).into_iter();
    let entries = entries.filter(|host| host.is_registered() && host.service().is_none());
    hosts.extend(entries.map(|host| (host.name().clone(), host.ports().to_vec())));
    let mut clusters = Vec::new();
    for (host, ports) in hosts {
        let subsets = subsets(snapshot, &host);
        for port in ports {
            let key = ClusterKey::new(host.clone(), port);
            clusters.push(Cluster::build(snapshot, &client, &key, learned.resolved));
            for subset in &subsets {
                let key = ClusterKey { subset: Some(subset.as_str().into()), ..key.clone() };
                let cluster = Cluster::build(snapshot, &client, &key, learned.resolved);
                clusters.extend((!cluster.missing_subset).then_some(cluster));
            }
        }
    }
    clusters.iter().map(|cluster| cluster_view(cluster, &workload.identity, learned.states)).collect()
}

fn sees(service: &Service, namespace: &str) -> bool {
    *service.namespace == *namespace || service.export_to.reaches(namespace)
}

/// Names of the subsets that any DestinationRule gives a host.
fn subsets(snapshot: &Snapshot, host: &str) -> BTreeSet<String> {
    let speaks = |pattern: &str| match pattern.strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix),
        None => host == pattern,
    };
    let rules = snapshot.traffic().filter_map(|object| match &**object {
        TrafficObject::DestinationRule(rule) if speaks(&rule.host) => Some(rule),
        _ => None,
    });
    rules.flat_map(|rule| rule.subsets.iter().map(|subset| subset.name.clone())).collect()
}

/// A cluster, its policy, its endpoints and those that it leaves out.
pub(super) fn cluster_view(cluster: &Cluster, client: &Identity, states: &ClusterStates) -> Value {
    let state = states.peek(client, &cluster.key);
    let excluded = cluster
        .excluded
        .iter()
        .map(|each| json!({ "name": &*each.name, "address": each.address, "why": each.why.to_string() }));
    let endpoints = cluster.endpoints.iter().map(|endpoint| endpoint_view(endpoint, state.as_deref()));
    json!({
        "cluster": &*cluster.name,
        "host": &*cluster.key.host,
        "port": cluster.key.port,
        "subset": cluster.key.subset.as_deref(),
        "protocol": protocol(cluster.protocol),
        "loadBalancer": algorithm(&cluster.algorithm()),
        "treatedBy": cluster.rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "serviceEntry": cluster.entry.as_ref().map(ToString::to_string),
        "known": cluster.is_known(),
        "open": state.as_deref().map(open),
        "endpoints": endpoints.collect::<Vec<_>>(),
        "excluded": excluded.collect::<Vec<_>>(),
    })
}

/// What is open now and, where there is one, the bound.
fn open(state: &ClusterState) -> Value {
    let each = |kind: BudgetKind| {
        let limit = state.budget.limit(kind);
        json!({ "now": state.budget.open(kind), "most": (limit != u32::MAX).then_some(limit) })
    };
    json!({
        "connections": each(BudgetKind::Connections),
        "pending": each(BudgetKind::Pending),
        "requests": each(BudgetKind::Requests),
        "retries": each(BudgetKind::Retries),
    })
}

fn endpoint_view(endpoint: &Endpoint, state: Option<&ClusterState>) -> Value {
    let now = Instant::now();
    let host = state.map(|state| state.health.host(endpoint.address, now));
    let ejection = host.as_ref().and_then(|host| host.ejection()).map(|ejection| {
        json!({
            "cause": ejection.cause,
            "times": ejection.times,
            "secondsLeft": ejection.until.saturating_duration_since(now).as_secs(),
        })
    });
    let place: Vec<&str> =
        endpoint.locality.iter().map(|part| &**part).filter(|part| !part.is_empty()).collect();
    json!({
        "name": &*endpoint.name(),
        "namespace": endpoint.workload.as_ref().map(|workload| workload.identity.namespace()),
        "address": endpoint.address,
        "node": endpoint.workload.as_ref().map(|workload| workload.node.as_str()),
        "transport": transport(&endpoint.transport),
        "weight": endpoint.weight,
        "priority": endpoint.priority,
        "locality": place.join("/"),
        "active": host.map_or(0, |host| host.active()),
        "ejected": ejection,
    })
}

fn transport(transport: &Transport) -> String {
    match transport {
        Transport::Tunnel => "tunnel".to_owned(),
        Transport::Plain => "plain".to_owned(),
        Transport::Tls { tunnel: true, .. } => "TLS in the tunnel".to_owned(),
        Transport::Tls { tunnel: false, .. } => "TLS".to_owned(),
        Transport::Refused(why) => format!("refused: {why}"),
    }
}

/// As in `appProtocol`.
pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Unknown => "unknown",
        Protocol::Http => "http",
        Protocol::Http2 => "http2",
        Protocol::Grpc => "grpc",
        Protocol::Tls => "tls",
        Protocol::Tcp => "tcp",
    }
}

/// In Istio's words.
pub(super) fn algorithm(algorithm: &Algorithm) -> String {
    match algorithm {
        Algorithm::LeastRequest => "LEAST_REQUEST".to_owned(),
        Algorithm::RoundRobin => "ROUND_ROBIN".to_owned(),
        Algorithm::Random => "RANDOM".to_owned(),
        Algorithm::Passthrough => "PASSTHROUGH".to_owned(),
        Algorithm::ConsistentHash { key, ring } => {
            let key = match key {
                HashKey::Header(name) => format!("header {name}"),
                HashKey::Cookie { name, .. } => format!("cookie {name}"),
                HashKey::SourceIp => "source IP".to_owned(),
                HashKey::Query(name) => format!("query {name}"),
            };
            let ring = match ring {
                Ring::RingHash(_) => "ring hash",
                Ring::Maglev(_) => "Maglev",
            };
            format!("{ring} of {key}")
        }
    }
}
