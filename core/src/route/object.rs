//! One routing object, compiled; kept as long as the objects that it was made of stay.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile;
use super::connection::{ConnectionRule, compile_tcp, compile_tls};
use super::delegate::flatten;
use super::model::{Attach, HttpAction, Retries, RouteObject};
use super::rule::{CompiledRule, Family};
use super::tables::Problem;
use crate::object::TrafficObject;

/// An object with its rules, those of its delegates among them.
#[derive(Debug)]
pub(super) struct CompiledObject {
    pub(super) object: Arc<TrafficObject>,
    /// What it hands over to, by name; `None`: was not there.
    delegates: HashMap<String, Option<Arc<TrafficObject>>>,
    pub(super) rules: Box<[Arc<CompiledRule>]>,
    pub(super) tls: Box<[Arc<ConnectionRule>]>,
    pub(super) tcp: Box<[Arc<ConnectionRule>]>,
    pub(super) problems: Vec<Problem>,
}

/// The route in an object about traffic.
pub(super) fn route(object: &TrafficObject) -> Option<&RouteObject> {
    match object {
        TrafficObject::Route(route) => Some(route),
        _ => None,
    }
}

impl CompiledObject {
    pub(super) fn new(
        object: &Arc<TrafficObject>,
        route: &RouteObject,
        find: impl Fn(&str) -> Option<Arc<TrafficObject>>,
        mesh: Option<&Retries>,
    ) -> Self {
        let mut problems = Vec::new();
        let found = |name: String| {
            let object = find(&name);
            (name, object)
        };
        let delegates: HashMap<_, _> = delegates(route).map(found).collect();
        let family = match route.attach {
            Attach::Services(_) => Family::Gateway,
            Attach::Hosts { .. } | Attach::Delegate { .. } => Family::Istio,
        };
        let known = |namespace: &str, name: &str| {
            delegates.get(&wire_name(namespace, name))?.as_deref().and_then(self::route)
        };
        // What has no hosts of its own is compiled where it is delegated to.
        let flat = match route.attach {
            Attach::Delegate { .. } => Vec::new(),
            _ => flatten(route, known, &mut problems),
        };
        let rules =
            flat.iter().map(|flat| Arc::new(compile::rule(flat, family, mesh, &mut problems))).collect();
        let tls = compile_tls(route, &mut problems);
        let tcp = compile_tcp(route, &mut problems);
        Self { object: Arc::clone(object), delegates, rules, tls, tcp, problems }
    }

    /// Whether it was made of this very object and what it hands over to now.
    pub(super) fn is_current(
        &self,
        object: &Arc<TrafficObject>,
        find: impl Fn(&str) -> Option<Arc<TrafficObject>>,
    ) -> bool {
        let same = |(name, known): (&String, &Option<Arc<TrafficObject>>)| match (known, find(name)) {
            (Some(known), Some(found)) => Arc::ptr_eq(known, &found),
            (None, None) => true,
            _ => false,
        };
        Arc::ptr_eq(&self.object, object) && self.delegates.iter().all(same)
    }
}

fn wire_name(namespace: &str, name: &str) -> String {
    format!("VirtualService/{namespace}/{name}")
}

fn delegates(route: &RouteObject) -> impl Iterator<Item = String> {
    route.http.iter().filter_map(|rule| match &rule.action {
        HttpAction::Delegate { namespace, name } => Some(wire_name(namespace, name)),
        _ => None,
    })
}
