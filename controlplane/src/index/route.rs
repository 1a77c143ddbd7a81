//! Routes of the Gateway API: which parents take them, and which of their backends are there.
//!
//! Conditions and reasons: Gateway API v1 `RouteConditionType`, `RouteConditionReason`; for Services as parents GEP-1426.

use heddle_core::route::model::{Attach, BackendRef, HostRef, RouteObject, ServiceParent};
use serde_json::Value;

use super::input::{InputKind, Key, Parent, RouteInput, ServiceInput};
use super::mentions;
use super::world::World;

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it holds.
    pub holds: bool,
    /// As the specification words it.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// What one parent makes of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct ParentVerdict {
    /// The `parentRef` as written.
    pub parent: Value,
    /// `Accepted`.
    pub accepted: Finding,
    /// `ResolvedRefs`.
    pub resolved: Finding,
    /// `PartiallyInvalid`, where rules were dropped.
    pub partial: Option<Finding>,
}

impl Finding {
    fn holds(reason: &'static str) -> Self {
        Self { holds: true, reason, message: String::new() }
    }

    /// It does not hold.
    pub fn fails(reason: &'static str, message: String) -> Self {
        Self { holds: false, reason, message }
    }
}

/// The route for agents, if any parent takes it, and what each parent says.
pub(super) fn resolve(
    world: &World,
    key: &Key,
    input: &RouteInput,
    cluster_domain: &str,
) -> (Option<RouteObject>, Vec<ParentVerdict>) {
    let mut route = input.route.clone();
    let resolved = backends(world, key, &input.parents, &mut route);
    let dropped = format!("Dropped Rule: {}", input.dropped.join("; "));
    let nothing_left = !route.http.is_empty() && route.http.iter().all(|rule| rule.broken.is_some());
    let partial = (!input.dropped.is_empty() && !nothing_left).then(|| Finding {
        holds: true,
        reason: "UnsupportedValue",
        message: dropped.clone(),
    });
    let mut parents = Vec::new();
    let mut verdicts = Vec::new();
    for parent in input.parents.iter().filter(|parent| parent.is_service()) {
        let accepted = match taken_by(world, parent) {
            Ok(_) if nothing_left => Finding::fails("UnsupportedValue", dropped.clone()),
            Ok(port) => {
                parents.push(ServiceParent {
                    namespace: parent.namespace.clone(),
                    hostname: format!("{}.{}.svc.{cluster_domain}", parent.name, parent.namespace),
                    port,
                    consumer: *parent.namespace != *key.namespace,
                });
                Finding::holds("Accepted")
            }
            Err(message) => Finding::fails("NoMatchingParent", message),
        };
        let (parent, resolved) = (parent.written.clone(), resolved.clone());
        verdicts.push(ParentVerdict { parent, accepted, resolved, partial: partial.clone() });
    }
    let taken = !parents.is_empty();
    route.attach = Attach::Services(parents);
    (taken.then_some(route), verdicts)
}

/// The port of a Service that a route is attached to, or why it is not.
fn taken_by(world: &World, parent: &Parent) -> Result<Option<u16>, String> {
    let Parent { namespace, name, section, port, .. } = parent;
    let service = world.service(namespace, name);
    let service = service.ok_or_else(|| format!("Service {namespace}/{name} does not exist"))?;
    let Some(section) = section else {
        return match port {
            Some(port) if !has_port(service, *port) => {
                Err(format!("Service {namespace}/{name} has no port {port}: it has {}", ports(service)))
            }
            port => Ok(*port),
        };
    };
    let named = service.ports.iter().find(|held| held.name == *section).map(|held| held.port);
    match (named, port) {
        (Some(named), Some(port)) if named != *port => {
            Err(format!("port {section:?} of Service {namespace}/{name} is {named}, not {port}"))
        }
        (Some(named), _) => Ok(Some(named)),
        (None, _) => Err(format!(
            "Service {namespace}/{name} has no port named {section:?}: it has {}",
            ports(service)
        )),
    }
}

/// Replaces what is not there or not allowed, and says so once.
fn backends(world: &World, key: &Key, parents: &[Parent], route: &mut RouteObject) -> Finding {
    let mut first: Option<Finding> = None;
    mentions::each_backend_mut(route, &mut |to| {
        let failed = match to {
            BackendRef::Invalid(message) => Some(Finding::fails("InvalidKind", message.clone())),
            BackendRef::Host(host) => backend(world, key, parents, host).err(),
        };
        let Some(failed) = failed else { return };
        *to = BackendRef::Invalid(failed.message.clone());
        first.get_or_insert(failed);
    });
    first.unwrap_or_else(|| Finding::holds("ResolvedRefs"))
}

fn backend(world: &World, key: &Key, parents: &[Parent], host: &HostRef) -> Result<(), Finding> {
    let not_found = |message| Finding::fails("BackendNotFound", message);
    let place = mentions::place(&BackendRef::Host(host.clone()));
    let (namespace, name) = place.ok_or_else(|| not_found(format!("{:?} is no Service", host.host)))?;
    // A consumer's route leaves requests where they were going: the Service itself needs no leave for that.
    let is_parent =
        |parent: &Parent| parent.is_service() && parent.namespace == namespace && parent.name == name;
    if *namespace != *key.namespace
        && !parents.iter().any(is_parent)
        && !granted(world, key, &namespace, &name)
    {
        let (kind, from) = (key.kind.name(), &key.namespace);
        let message = format!(
            "Service {namespace}/{name} is in another namespace: a ReferenceGrant there must allow {kind}s from {from}"
        );
        return Err(Finding::fails("RefNotPermitted", message));
    }
    let service = world.service(&namespace, &name);
    let service = service.ok_or_else(|| not_found(format!("Service {namespace}/{name} does not exist")))?;
    match host.port {
        Some(port) if !has_port(service, port) => Err(not_found(format!(
            "Service {namespace}/{name} has no port {port}: it has {}",
            ports(service)
        ))),
        _ => Ok(()),
    }
}

fn granted(world: &World, route: &Key, namespace: &str, service: &str) -> bool {
    let grants = world.within(InputKind::ReferenceGrant, namespace);
    let mut grants = grants.filter_map(|(_, input)| match input {
        super::input::Input::Grant(grant) => Some(grant),
        _ => None,
    });
    grants.any(|grant| grant.allows(route.kind.name(), &route.namespace, service))
}

fn has_port(service: &ServiceInput, port: u16) -> bool {
    service.ports.iter().any(|held| held.port == port)
}

fn ports(service: &ServiceInput) -> String {
    let texts: Vec<String> = service
        .ports
        .iter()
        .map(|port| match port.name.as_str() {
            "" => port.port.to_string(),
            name => format!("{} ({name})", port.port),
        })
        .collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}
