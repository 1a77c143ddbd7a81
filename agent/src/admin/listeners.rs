//! `/config/listeners`: the agent's sockets in a pod, and what they do with what comes.

use heddle_core::route::Client;
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::model::Protocol;
use heddle_core::workload::{L7Mode, LocalWorkload, PortMapping, Service};
use serde_json::{Value, json};

use super::endpoints::protocol;

/// What is done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Requests are seen.
    Http,
    /// The first bytes decide.
    Detect,
    /// Bytes are carried.
    Opaque,
}

impl Treatment {
    /// Of what a pod sends to a port of a service.
    pub(super) fn outbound(
        snapshot: &Snapshot,
        local: &LocalWorkload,
        service: &Service,
        port: &PortMapping,
    ) -> Self {
        let client = Client { namespace: local.identity.namespace(), labels: &local.labels };
        let rules = || snapshot.routes().has_http_rules(&client, &service.hostname, port.service_port);
        match (service.l7.unwrap_or(local.l7), port.protocol) {
            (L7Mode::Never, _) | (_, Protocol::Tcp | Protocol::Tls) => Self::Opaque,
            (L7Mode::Auto, protocol) if protocol.is_http() => Self::Http,
            (L7Mode::Rules, protocol) if protocol.is_http() && rules() => Self::Http,
            (L7Mode::Rules, _) if !rules() => Self::Opaque,
            _ => Self::Detect,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Http => "HTTP: each request is routed",
            Self::Detect => "the first bytes decide: HTTP is routed, all else carried as it is",
            Self::Opaque => "opaque: carried as it is",
        }
    }
}

/// The listeners of a pod, in the direction of its traffic.
pub(super) fn listeners(snapshot: &Snapshot, local: &LocalWorkload) -> Vec<Value> {
    let mode = |mode: L7Mode| match mode {
        L7Mode::Auto => "auto",
        L7Mode::Rules => "rules",
        L7Mode::Never => "never",
    };
    let asks =
        local.policies.iter().filter_map(|name| snapshot.policy(name)).any(|policy| policy.asks_requests());
    let inbound = |port: u16, what: &str| {
        json!({
            "direction": "inbound", "listener": port, "from": what, "l7": mode(local.l7),
            "does": match (local.l7, asks) {
                (L7Mode::Never, _) => "opaque; what policies ask of requests denies",
                (L7Mode::Rules, false) => "opaque: no policy asks anything of requests",
                (_, true) => "HTTP is judged request by request, all else by its connection",
                (L7Mode::Auto, false) => "HTTP is counted and logged, all else carried as it is",
            },
        })
    };
    let mut all = vec![inbound(15008, "the mesh, by tunnel"), inbound(15006, "outside the mesh, in clear")];
    let mut services: Vec<_> = snapshot.services().collect();
    services.sort_by(|a, b| a.key.cmp(&b.key));
    let namespace = local.identity.namespace();
    for service in services {
        if *service.namespace != *namespace && !service.export_to.reaches(namespace) {
            continue;
        }
        for port in &service.ports {
            all.push(json!({
                "direction": "outbound",
                "listener": 15001,
                "host": &*service.hostname,
                "addresses": service.addresses,
                "port": port.service_port,
                "protocol": protocol(port.protocol),
                "l7": mode(service.l7.unwrap_or(local.l7)),
                "does": Treatment::outbound(snapshot, local, service, port).word(),
            }));
        }
    }
    all
}
