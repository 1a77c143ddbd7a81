//! `/config/routes`: the rules in force for the clients of a namespace, host by host.

use std::sync::Arc;
use std::time::Duration;

use heddle_core::route::model::{Abort, BackendRef, Fault, HostRef, Mirror, Retries};
use heddle_core::route::{Action, CompiledBackend, CompiledRule, VirtualHost};
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::ClusterKey;
use serde_json::{Map, Value, json};

/// Hosts that have rules, as clients of a namespace see them; each with its ports that share the same rules.
pub(super) fn routes(snapshot: &Snapshot, namespace: &str) -> Vec<Value> {
    let hosts = snapshot.routes().hosts(namespace);
    hosts.into_iter().flat_map(|host| of_host(host, namespace)).collect()
}

fn of_host(host: &VirtualHost, namespace: &str) -> Vec<Value> {
    let ports: Vec<u16> = match host.service() {
        Some(service) => service.ports.iter().map(|port| port.service_port).collect(),
        None => vec![80],
    };
    let mut groups: Vec<(Vec<u16>, Vec<Arc<CompiledRule>>)> = Vec::new();
    for port in ports {
        let rules: Vec<_> = host.rules(port).cloned().collect();
        let same = |known: &[Arc<CompiledRule>]| {
            known.len() == rules.len() && known.iter().zip(&rules).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        match groups.iter_mut().find(|(_, known)| same(known)) {
            Some((ports, _)) => ports.push(port),
            None if rules.is_empty() => {}
            None => groups.push((vec![port], rules)),
        }
    }
    let group = |(ports, rules): (Vec<u16>, Vec<Arc<CompiledRule>>)| {
        json!({
            "host": &**host.name(),
            "ports": host.service().map(|_| &ports),
            "clients": namespace,
            "rules": rules.iter().map(|rule| rule_view(rule, ports[0])).collect::<Vec<_>>(),
        })
    };
    groups.into_iter().map(group).collect()
}

/// One rule: where it stands, what it matches, and what it does.
pub(super) fn rule_view(rule: &CompiledRule, port: u16) -> Value {
    let mut view = json!({
        "source": rule.source.to_string(),
        "index": rule.index,
        "name": &*rule.name,
        "matches": rule.matches.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "does": does(&rule.action),
    });
    let mut put = |name: &str, value: Option<Value>| {
        if let (Some(value), Some(view)) = (value, view.as_object_mut()) {
            view.insert(name.to_owned(), value);
        }
    };
    put("delegatedBy", rule.root.as_ref().map(|root| json!(root.to_string())));
    if let Action::Forward(forward) = &rule.action {
        put("to", Some(forward.backends().iter().map(|backend| backend_view(backend, port)).collect()));
        put("retries", (rule.retries.attempts > 0).then(|| retries(&rule.retries)));
    }
    put("timeout", rule.timeout.map(|timeout| json!(span(timeout))));
    put("fault", rule.fault.as_ref().map(fault));
    let mirrors: Vec<Value> = rule.mirrors.iter().map(|mirror| mirror_view(mirror, port)).collect();
    put("mirrors", (!mirrors.is_empty()).then(|| json!(mirrors)));
    put("rewrites", rule.rewrite.is_some().then(|| json!(true)));
    put("cors", rule.cors.is_some().then(|| json!(true)));
    let changes = !rule.request_headers.is_empty() || !rule.response_headers.is_empty();
    put("changesHeaders", changes.then(|| json!(true)));
    view
}

fn does(action: &Action) -> String {
    match action {
        Action::Forward(_) => "forward".to_owned(),
        Action::Redirect(redirect) => format!("redirect {}", redirect.status().as_u16()),
        Action::Respond { status, body } => format!("respond {} ({} bytes)", status.as_u16(), body.len()),
        Action::Broken(why) => format!("respond 500: {why}"),
    }
}

fn backend_view(backend: &CompiledBackend, port: u16) -> Value {
    json!({ "cluster": target(&backend.to, port), "weight": backend.weight })
}

fn mirror_view(mirror: &Mirror, port: u16) -> Value {
    json!({ "cluster": target(&mirror.to, port), "percent": f64::from(mirror.share.0) / 10_000.0 })
}

fn target(to: &BackendRef, port: u16) -> String {
    match to {
        BackendRef::Host(host) => cluster_key(host, port).to_string(),
        BackendRef::Invalid(why) => format!("nowhere: {why}"),
    }
}

/// The cluster of a destination, for a client that dialled a port.
pub(super) fn cluster_key(host: &HostRef, port: u16) -> ClusterKey {
    let subset = host.subset.as_deref().map(Into::into);
    ClusterKey { host: host.host.as_str().into(), port: host.port_or(None, port), subset }
}

fn retries(retries: &Retries) -> Value {
    let mut view = Map::new();
    view.insert("attempts".to_owned(), json!(retries.attempts));
    view.insert("on".to_owned(), json!(retries.retry_on));
    if let Some(timeout) = retries.per_try_timeout {
        view.insert("perTryTimeout".to_owned(), json!(span(timeout)));
    }
    Value::Object(view)
}

fn fault(fault: &Fault) -> Value {
    let percent = |share: &heddle_core::route::model::Share| f64::from(share.0) / 10_000.0;
    let delay =
        fault.delay.as_ref().map(|(share, delay)| json!({ "percent": percent(share), "for": span(*delay) }));
    let abort = fault.abort.as_ref().map(|(share, abort)| {
        let with = match abort {
            Abort::Http(status) => format!("HTTP {status}"),
            Abort::Grpc(status) => format!("gRPC {status}"),
        };
        json!({ "percent": percent(share), "with": with })
    });
    json!({ "delay": delay, "abort": abort })
}

/// `3s`, `250ms`.
pub(super) fn span(duration: Duration) -> String {
    match duration.as_millis() {
        whole if whole % 1000 == 0 => format!("{}s", whole / 1000),
        milliseconds => format!("{milliseconds}ms"),
    }
}
