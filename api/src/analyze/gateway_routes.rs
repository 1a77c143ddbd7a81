//! HTTPRoutes and GRPCRoutes: parents and backends that are not there, or not allowed.

use std::collections::HashMap;

use heddle_core::route::model::{BackendRef, HttpAction, HttpRule};

use super::world::{World, namespace};
use crate::diagnostic::{Code, Severity};
use crate::object::Object;
use crate::report::{At, Notes};
use crate::route::{self, ParentRef};

/// The route whose backends are looked at.
struct Asking<'a> {
    kind: &'a str,
    from: &'a str,
    parents: &'a [ParentRef],
    world: &'a World,
}

pub(super) fn check(object: &Object, world: &World, notes: &mut Notes) {
    let kind = object.kind.kind;
    let read = if kind == "HTTPRoute" { route::http_route } else { route::grpc_route };
    let Some(model) = read(object, &world.context).model else { return };
    let spec = At::root("spec");
    let parents_at = spec.field("parentRefs");
    for (index, parent) in model.parents.iter().enumerate().filter(|(_, parent)| parent.is_service()) {
        let at = parents_at.index(index);
        let host = format!("{}.{}.svc.{}", parent.name, parent.namespace, world.context.cluster_domain);
        let place = format!("{}/{}", parent.namespace, parent.name);
        match world.host(&host, namespace(object)) {
            Err(_) => {
                notes.put(
                    Severity::Error,
                    Code::NotFound,
                    &at,
                    format!("Service {place} is not found: the route is not accepted"),
                );
            }
            Ok(host) => {
                if let Some(port) = parent.port.filter(|port| !host.ports.contains(port)) {
                    let listed: Vec<String> = host.ports.iter().map(u16::to_string).collect();
                    let message =
                        format!("Service {place} has no port {port}: write one of {}", listed.join(", "));
                    notes.put(Severity::Error, Code::NotFound, &at.field("port"), message);
                }
            }
        }
    }
    let asking = Asking { kind, from: namespace(object), parents: &model.parents, world };
    let rules_at = spec.field("rules");
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, rule) in model.route.http.iter().enumerate() {
        let at = rules_at.index(index);
        backends(rule, &asking, &at, notes);
        let keys: Vec<String> = rule.matches.iter().map(|each| format!("{each:?}")).collect();
        if let Some(first) = keys.iter().map(|key| seen.get(key).copied()).collect::<Option<Vec<usize>>>() {
            let first = first.into_iter().min().unwrap_or_default();
            let message = format!("no request reaches this rule: rule {first} before it has its matches");
            notes.put(Severity::Warning, Code::UnreachableRule, &at, message);
        }
        for key in keys {
            seen.entry(key).or_insert(index);
        }
    }
}

fn backends(rule: &HttpRule, asking: &Asking<'_>, at: &At<'_>, notes: &mut Notes) {
    let HttpAction::Forward(backends) = &rule.action else { return };
    let refs_at = at.field("backendRefs");
    if backends.is_empty() && rule.broken.is_none() {
        notes.put(
            Severity::Warning,
            Code::NoBackend,
            &refs_at,
            "is empty: requests for this rule are answered 500; write at least one Service",
        );
    } else if !backends.is_empty() && backends.iter().all(|backend| backend.weight == 0) {
        notes.put(
            Severity::Warning,
            Code::NoBackend,
            &refs_at,
            "has weights that sum to 0: requests for this rule are answered 500; give one a weight",
        );
    }
    for (index, backend) in backends.iter().enumerate() {
        let at = refs_at.index(index);
        one(&backend.to, asking, &at, notes);
        backend.mirrors.iter().for_each(|mirror| one(&mirror.to, asking, &at.field("filters"), notes));
    }
    rule.mirrors.iter().for_each(|mirror| one(&mirror.to, asking, &at.field("filters"), notes));
}

fn one(to: &BackendRef, asking: &Asking<'_>, at: &At<'_>, notes: &mut Notes) {
    let BackendRef::Host(to) = to else { return };
    let Asking { kind, from, parents, world } = *asking;
    let mut parts = to.host.splitn(3, '.');
    let (Some(name), Some(of)) = (parts.next(), parts.next()) else { return };
    let is_service = parts.next().is_some_and(|rest| rest == format!("svc.{}", world.context.cluster_domain));
    let host = match world.host(&to.host, from) {
        Ok(host) => host,
        Err(_) => {
            let message = format!(
                "{} is not found: its share is answered 500",
                if is_service { format!("Service {of}/{name}") } else { format!("host {}", to.host) }
            );
            notes.put(Severity::Error, Code::NotFound, at, message);
            return;
        }
    };
    // A consumer's route leaves requests where they were going.
    let is_parent = |parent: &ParentRef| parent.is_service() && parent.namespace == of && parent.name == name;
    if is_service && !parents.iter().any(is_parent) && !world.granted(kind, from, of, name) {
        let message = format!(
            "Service {of}/{name} is of another namespace, and no ReferenceGrant there allows it: its share is answered 500; write one in {of} from {kind} of {from}"
        );
        notes.put(Severity::Error, Code::NotPermitted, at, message);
    }
    if let Some(port) = to.port.filter(|port| !host.ports.is_empty() && !host.ports.contains(port)) {
        let listed: Vec<String> = host.ports.iter().map(u16::to_string).collect();
        let message = format!("{} has no port {port}: write one of {}", to.host, listed.join(", "));
        notes.put(Severity::Error, Code::NotFound, &at.field("port"), message);
    }
}
