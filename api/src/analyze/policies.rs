//! Policies: selectors that select nobody, Services and namespaces that are not there.

use heddle_core::object::Labels;
use heddle_core::policy::StringMatch;
use serde_json::Value;

use super::world::{World, namespace, texts};
use crate::authorization::authorization_policy;
use crate::diagnostic::{Code, Severity};
use crate::mesh::ROOT_NAMESPACES;
use crate::object::Object;
use crate::report::{At, Notes};

pub(super) fn check(object: &Object, world: &World, notes: &mut Notes) {
    check_selector(object, world, notes);
    let Some(read) = authorization_policy(object, &world.context).model else { return };
    let spec = At::root("spec");
    let from = namespace(object);
    for name in read.services.iter().flatten() {
        let host = format!("{name}.{from}.svc.{}", world.context.cluster_domain);
        if world.host(&host, from).is_err() {
            let message = format!("Service {from}/{name} is not found: the policy selects nothing there");
            notes.put(Severity::Error, Code::NotFound, &spec.field("targetRefs"), message);
        }
    }
    let Some(policy) = read.policy else { return };
    let rules = spec.field("rules");
    for (index, rule) in policy.rules.iter().enumerate() {
        let at = rules.index(index);
        let sources = rule.clauses.iter().flat_map(|clause| &clause.matches);
        for name in sources.flat_map(|source| source.namespaces.iter().chain(&source.not_namespaces)) {
            let StringMatch::Exact(name) = name else { continue };
            if !world.has_namespace(name) {
                let message = format!("namespace {name:?} is not found: nobody comes from there");
                notes.put(Severity::Warning, Code::NotFound, &at.field("from"), message);
            }
        }
    }
}

/// `spec.selector.matchLabels` of a policy.
pub(super) fn check_selector(object: &Object, world: &World, notes: &mut Notes) {
    let labels: Labels = object
        .value
        .pointer("/spec/selector/matchLabels")
        .and_then(Value::as_object)
        .map(texts)
        .unwrap_or_default();
    let from = namespace(object);
    let root = ROOT_NAMESPACES.contains(&from);
    let found = if root { world.has_pods_anywhere(&labels) } else { world.has_pods(from, &labels) };
    if !labels.is_empty() && !found {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let place = if root { "of the mesh".to_owned() } else { format!("of namespace {from}") };
        let message = format!("no pod {place} has the labels {}: the policy has no effect", labels.join(","));
        let spec = At::root("spec");
        notes.put(Severity::Warning, Code::NoWorkload, &spec.field("selector"), message);
    }
}
