//! The agent's state as JSON, for `heddle status` and `heddle config`; never a key.

use std::collections::HashMap;
use std::io;

use heddle_core::mtls::MtlsPolicy;
use heddle_core::policy::{Action, Match, Policy};
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::{LocalWorkload, PortMapping, Service, Tunnel, Workload};
use serde_json::{Map, Value, json};

use super::Sources;
use crate::datapath::inspect::PodDropCount;
use crate::pod::Pod;

/// `/status`.
pub(super) fn status(sources: &Sources) -> Value {
    let (control, applied, snapshot) = (sources.status(), sources.applied(), sources.snapshot());
    let types: Map<String, Value> =
        control.types().into_iter().map(|report| (report.name.to_owned(), json!(report))).collect();
    let failed = applied.failed.iter().map(|(uid, reason)| {
        let local = snapshot.local(uid);
        json!({
            "namespace": local.map_or("", |local| local.identity.namespace()),
            "name": local.map_or(uid.as_str(), |local| &local.name),
            "reason": reason,
        })
    });
    json!({
        "node": sources.node,
        "version": env!("CARGO_PKG_VERSION"),
        "abi": heddle_abi::ABI_VERSION,
        "controller": {
            "connected": control.connected,
            "address": sources.controller,
            "error": control.error,
        },
        "fromDisk": control.from_disk,
        "types": types,
        "generation": snapshot.generation().0,
        "applied": applied.generation.0,
        "workloads": { "known": snapshot.workloads().count(), "enrolled": applied.enrolled, "failed": failed.collect::<Vec<_>>() },
        "certificates": sources.identities.count(),
        "draining": sources.is_draining(),
        // An agent whose kernel lacks something says what, and does not start.
        "kernel": { "ok": true, "missing": [] },
    })
}

/// `/config/workloads`.
pub(super) fn workloads(snapshot: &Snapshot) -> Value {
    let mut all: Vec<_> = snapshot.workloads().collect();
    all.sort_by(|a, b| a.uid.cmp(&b.uid));
    let view = |workload: &Workload| {
        let local = snapshot.locals().find(|local| local.workload_uid == workload.uid);
        json!({
            "uid": workload.uid.as_str(),
            "namespace": workload.identity.namespace(),
            "name": &*workload.name,
            "serviceAccount": workload.identity.service_account(),
            "identity": workload.identity.to_string(),
            "addresses": workload.addresses,
            "node": workload.node.as_str(),
            "protocol": protocol(workload),
            "plaintextPorts": workload.plaintext_ports,
            "canonicalName": &*workload.canonical_name,
            "canonicalRevision": &*workload.canonical_revision,
            "workloadName": &*workload.workload_name,
            "services": workload.services.iter().map(|(key, ports)| json!({
                "service": key.as_str(), "ports": port_views(ports),
            })).collect::<Vec<_>>(),
            "policies": names(&workload.policies),
            "healthy": workload.healthy,
            "hostNetwork": workload.host_network,
            "local": local.map(|local| local_view(local)),
        })
    };
    all.into_iter().map(|workload| view(workload)).collect()
}

/// How a workload is reached.
fn protocol(workload: &Workload) -> &'static str {
    match workload.tunnel {
        Tunnel::Hbone => "HBONE",
        Tunnel::None => "TCP",
    }
}

/// `/config/services`.
pub(super) fn services(snapshot: &Snapshot) -> Value {
    let mut all: Vec<_> = snapshot.services().collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    let view = |service: &Service| {
        let mut endpoints: Vec<_> = snapshot.endpoints(&service.key).collect();
        endpoints.sort_by(|a, b| a.uid.cmp(&b.uid));
        let endpoints = endpoints.into_iter().map(|workload| {
            let ports = workload.services.iter().find(|(key, _)| *key == service.key);
            json!({
                "workload": workload.uid.as_str(),
                "addresses": workload.addresses,
                "healthy": workload.healthy,
                "protocol": protocol(workload),
                "ports": ports.map(|(_, ports)| port_views(ports)),
            })
        });
        json!({
            "namespace": &*service.namespace,
            "name": &*service.name,
            "hostname": &*service.hostname,
            "addresses": service.addresses,
            "ports": port_views(&service.ports),
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    };
    all.into_iter().map(|service| view(service)).collect()
}

/// `/config/policies`: each with the local pods that it applies to.
pub(super) fn policies(snapshot: &Snapshot) -> Value {
    let mut all: Vec<_> = snapshot.policies().collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let view = |policy: &Policy| {
        let mut pods: Vec<String> = snapshot
            .locals()
            .filter(|local| local.policies.contains(&policy.name))
            .map(|local| format!("{}/{}", local.identity.namespace(), local.name))
            .collect();
        pods.sort_unstable();
        let rules = policy.rules.iter().map(|rule| {
            let clause = |matches: &[Match]| matches.iter().map(match_view).collect::<Vec<_>>();
            rule.clauses.iter().map(|each| clause(&each.matches)).collect::<Vec<_>>()
        });
        json!({
            "name": policy.name.as_str(),
            "action": match policy.action { Action::Allow => "ALLOW", Action::Deny => "DENY" },
            "rules": rules.collect::<Vec<_>>(),
            "pods": pods,
        })
    };
    all.into_iter().map(|policy| view(policy)).collect()
}

/// `/config/certs`.
pub(super) fn certificates(sources: &Sources) -> Value {
    let snapshot = sources.snapshot();
    let view = |report: crate::identity::CertificateReport| {
        let local = snapshot.locals().find(|local| local.pod_uid.as_str() == report.pod_uid);
        json!({
            "namespace": local.map_or("", |local| local.identity.namespace()),
            "name": local.map_or("", |local| &local.name),
            "podUid": report.pod_uid,
            "identity": report.identity,
            "serial": report.serial,
            "notBefore": report.not_before,
            "notAfter": report.not_after,
            "state": report.state,
            "error": report.error,
        })
    };
    sources.identities.report().into_iter().map(view).collect()
}

/// `/bpf`.
pub(super) fn bpf(sources: &Sources) -> io::Result<Value> {
    Ok(json!({ "programs": sources.inspector.programs()?, "maps": sources.inspector.maps() }))
}

/// `/drops`.
pub(super) fn drops(sources: &Sources) -> io::Result<Value> {
    let captured = sources.captured.borrow().clone();
    let owners: HashMap<u32, &Pod> = captured.values().map(|pod| (pod.host_ifindex, &**pod)).collect();
    let pod = |each: PodDropCount| {
        let owner = owners.get(&each.host_ifindex);
        json!({
            "namespace": owner.map_or("", |pod| &*pod.namespace),
            "name": owner.map_or("", |pod| &*pod.name),
            "reason": each.drops.reason,
            "where": each.drops.direction,
            "count": each.drops.count,
        })
    };
    let pods: Vec<Value> = sources.inspector.pod_drops()?.into_iter().map(pod).collect();
    Ok(json!({ "counters": sources.inspector.drops(), "pods": pods }))
}

fn local_view(local: &LocalWorkload) -> Value {
    json!({
        "podUid": local.pod_uid.as_str(),
        "enrolled": local.enrolled,
        "mtls": mtls_view(&local.mtls),
        "policies": names(&local.policies),
    })
}

fn mtls_view(mtls: &MtlsPolicy) -> Value {
    let ports: Map<String, Value> =
        mtls.exceptions().iter().map(|(port, mode)| (port.to_string(), json!(mode))).collect();
    json!({ "mode": mtls.default_mode(), "ports": ports })
}

fn match_view(fields: &Match) -> Value {
    fn texts<T: ToString>(values: &[T]) -> Vec<Value> {
        values.iter().map(|value| Value::String(value.to_string())).collect()
    }
    fn numbers(values: &[u16]) -> Vec<Value> {
        values.iter().map(|value| json!(value)).collect()
    }
    let accounts = |pairs: &[(String, String)]| -> Vec<Value> {
        pairs.iter().map(|(namespace, name)| json!(format!("{namespace}/{name}"))).collect()
    };
    let all = [
        ("namespaces", texts(&fields.namespaces)),
        ("notNamespaces", texts(&fields.not_namespaces)),
        ("principals", texts(&fields.principals)),
        ("notPrincipals", texts(&fields.not_principals)),
        ("serviceAccounts", accounts(&fields.service_accounts)),
        ("notServiceAccounts", accounts(&fields.not_service_accounts)),
        ("sourceIps", texts(&fields.source_ips)),
        ("notSourceIps", texts(&fields.not_source_ips)),
        ("destinationIps", texts(&fields.destination_ips)),
        ("notDestinationIps", texts(&fields.not_destination_ips)),
        ("destinationPorts", numbers(&fields.destination_ports)),
        ("notDestinationPorts", numbers(&fields.not_destination_ports)),
        ("methods", texts(&fields.request.methods)),
        ("notMethods", texts(&fields.request.not_methods)),
        ("paths", texts(&fields.request.paths)),
        ("notPaths", texts(&fields.request.not_paths)),
        ("hosts", texts(&fields.request.hosts)),
        ("notHosts", texts(&fields.request.not_hosts)),
    ];
    let said = all.into_iter().filter(|(_, values)| !values.is_empty());
    Value::Object(said.map(|(name, values)| (name.to_owned(), Value::Array(values))).collect())
}

fn names(policies: &[heddle_core::names::PolicyName]) -> Vec<&str> {
    policies.iter().map(heddle_core::names::PolicyName::as_str).collect()
}

fn port_views(ports: &[PortMapping]) -> Vec<Value> {
    let view =
        |port: &PortMapping| json!({ "servicePort": port.service_port, "targetPort": port.target_port });
    ports.iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use heddle_core::identity::Identity;
    use heddle_core::mtls::MtlsMode;
    use heddle_core::names::{PodUid, PolicyName, WorkloadUid};
    use heddle_core::policy::{Clause, RequestMatch, Rule, StringMatch};
    use heddle_core::store::Store;

    #[test]
    fn a_policy_is_shown_as_it_was_written_with_the_pods_that_it_applies_to() {
        let mut store = Store::default();
        let name = PolicyName::new("default/only-frontend");
        let fields = Match {
            principals: [StringMatch::Suffix("/sa/frontend".to_owned())].into(),
            not_destination_ports: [9090].into(),
            request: RequestMatch {
                paths: [StringMatch::Template("/items/{*}".to_owned())].into(),
                ..RequestMatch::default()
            },
            ..Match::default()
        };
        let clause = Clause { matches: [fields].into() };
        let rules = [Rule { clauses: [clause].into() }].into();
        store.put_policy(Policy::new(name.clone(), Action::Allow, rules));
        store.put_local(LocalWorkload {
            pod_uid: PodUid::new("uid-a"),
            workload_uid: WorkloadUid::new("c//Pod/default/a"),
            name: "a".into(),
            identity: Identity::new("cluster.local", "default", "app").unwrap(),
            enrolled: true,
            mtls: MtlsPolicy::new(MtlsMode::Strict, [(80, MtlsMode::Disable)]),
            policies: [name].into(),
            labels: Default::default(),
            l7: Default::default(),
        });
        let snapshot = store.publish();
        assert_eq!(
            policies(&snapshot),
            json!([{
                "name": "default/only-frontend",
                "action": "ALLOW",
                "rules": [[[{ "principals": ["*/sa/frontend"], "notDestinationPorts": [9090], "paths": ["/items/{*}"] }]]],
                "pods": ["default/a"],
            }])
        );
        let local = snapshot.locals().next().unwrap();
        assert_eq!(local_view(local)["mtls"], json!({ "mode": "STRICT", "ports": { "80": "DISABLE" } }));
    }
}
