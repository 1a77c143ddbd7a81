//! AuthorizationPolicy, made into a policy of `heddle_core`. What is not served denies.
//!
//! Sources: Istio API `security/v1/authorization_policy.proto`; Istio `pkg/config/validation`.
//!
//! | not served | then |
//! |---|---|
//! | an ALLOW rule's condition | that condition never holds |
//! | a DENY rule's condition | it counts as if it held |
//! | CUSTOM, AUDIT, dry-run | what the policy selects is denied |

use heddle_core::names::PolicyName;
use heddle_core::object::Labels;
use heddle_core::policy::{Action, Policy};
use serde_json::Value;

use crate::diagnostic::Problem;
use crate::names;
use crate::normalised::{Context, Normalised, Resource};
use crate::object::Object;
use crate::report::{At, Notes};

use schema::{AuthorizationPolicySpec, PolicyAction, TargetReference};

mod meant;
mod rules;
mod schema;
mod texts;

#[cfg(test)]
mod tests;

const DRY_RUN: &str = "istio.io/dry-run";

/// A policy, and what it speaks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorization {
    /// `None`: it is refused, or as a whole not served, and denies what it selects.
    pub policy: Option<Policy>,
    /// Pods of its namespace by their labels; none: all of them (in a root namespace, all of the mesh).
    pub selector: Labels,
    /// `targetRefs`: Services of its namespace by name. `Some`: it speaks for their pods and for nothing else.
    pub services: Option<Vec<String>>,
}

/// Reads a policy. There is a model wherever it can be told what it selects; without one it denies its whole namespace.
pub fn authorization_policy(object: &Object, context: &Context) -> Normalised<Authorization> {
    read(&object.value, context)
}

/// Schema and rules.
pub(crate) fn check(value: &Value) -> Vec<Problem> {
    read(value, &Context::default()).problems
}

fn read(value: &Value, _context: &Context) -> Normalised<Authorization> {
    let mut notes = Notes::default();
    let selects = selection(value);
    let mut value = value.clone();
    meant::mend(&mut value, &mut notes);
    let policy = Resource::<AuthorizationPolicySpec>::read(&value, &mut notes)
        .and_then(|resource| policy(&resource, &mut notes))
        .filter(|_| !notes.refused());
    let model = selects.map(|(selector, services)| Authorization { policy, selector, services });
    Normalised { model, problems: notes.finish() }
}

fn policy(resource: &Resource<AuthorizationPolicySpec>, notes: &mut Notes) -> Option<Policy> {
    let spec = &resource.spec;
    let at = At::root("spec");
    selector(spec, &at, notes);
    targets(spec, &at, notes);
    let action = action(resource, &at, notes);
    let judged_as = action.unwrap_or(Action::Deny);
    let name = PolicyName::new(format!("{}/{}", resource.namespace(), resource.name()));
    let rules = rules::read(
        spec.rules.as_deref().unwrap_or_default(),
        judged_as,
        resource.namespace(),
        &at.field("rules"),
        notes,
    );
    Some(Policy::new(name, action?, rules))
}

/// `None`: the policy is not served.
fn action(resource: &Resource<AuthorizationPolicySpec>, at: &At<'_>, notes: &mut Notes) -> Option<Action> {
    let spec = &resource.spec;
    let written = spec.action.unwrap_or(PolicyAction::Allow);
    let action_at = at.field("action");
    let none = spec.rules.as_ref().is_none_or(Vec::is_empty);
    match written {
        PolicyAction::Allow => {}
        PolicyAction::Deny if none => {
            notes.warning(&at.field("rules"), "is empty: a DENY policy without a rule denies nothing; to deny everything write `rules: [{}]`");
        }
        PolicyAction::Deny => {}
        PolicyAction::Custom | PolicyAction::Audit => {
            let name = if written == PolicyAction::Custom { "CUSTOM" } else { "AUDIT" };
            notes.unserved(&action_at, format!("{name} is not served yet: what the policy selects is denied; write ALLOW or DENY, or remove the policy"));
        }
    }
    if written == PolicyAction::Custom && spec.provider.is_none() {
        notes.error(&at.field("provider"), "is required beside CUSTOM: write `provider: {name: …}`");
    }
    if written != PolicyAction::Custom && spec.provider.is_some() {
        notes.error(&at.field("provider"), "can only stand beside `action: CUSTOM`: remove it");
    }
    // As Go's strconv.ParseBool has it.
    let dry_run = resource.annotation(DRY_RUN);
    let dry_run = dry_run.is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"));
    if dry_run {
        let metadata = At::root("metadata");
        let annotations = metadata.field("annotations");
        notes.unserved(
            &annotations.field(DRY_RUN),
            "dry-run is not served yet: what the policy selects is denied; remove the annotation to have the policy enforced, or remove the policy",
        );
    }
    match written {
        _ if dry_run => None,
        PolicyAction::Allow => Some(Action::Allow),
        PolicyAction::Deny => Some(Action::Deny),
        PolicyAction::Custom | PolicyAction::Audit => None,
    }
}

fn selector(spec: &AuthorizationPolicySpec, at: &At<'_>, notes: &mut Notes) {
    let Some(selector) = &spec.selector else { return };
    if spec.target_ref.is_some() || !spec.target_refs.is_empty() {
        notes.error(&at.field("selector"), "cannot stand beside targetRefs: keep one of them");
    }
    let mut problems = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        names::check_selector_label("spec.selector.matchLabels", key, Some(value), &mut problems);
    }
    notes.extend(problems);
}

fn targets(spec: &AuthorizationPolicySpec, at: &At<'_>, notes: &mut Notes) {
    let (old_at, list_at) = (at.field("targetRef"), at.field("targetRefs"));
    if spec.target_ref.is_some() && !spec.target_refs.is_empty() {
        notes.error(&old_at, "cannot stand beside targetRefs: move it into that list");
    }
    let old = spec.target_ref.iter().map(|target| (target, old_at));
    let listed = spec.target_refs.iter().enumerate().map(|(index, target)| (target, list_at.index(index)));
    for (target, at) in old.chain(listed) {
        let TargetReference { group, kind, name, namespace } = target;
        let known = match (group.as_deref().unwrap_or_default(), kind.as_deref().unwrap_or_default()) {
            ("" | "core", "Service") => true,
            ("gateway.networking.k8s.io", "Gateway" | "GatewayClass")
            | ("networking.istio.io", "ServiceEntry") => {
                notes.unserved(
                    &at.field("kind"),
                    format!(
                        "{} is not served as a target yet: the policy selects nothing there",
                        kind.as_deref().unwrap_or_default()
                    ),
                );
                true
            }
            _ => false,
        };
        if !known {
            notes.error(
                &at.field("kind"),
                "is no target of a policy: write `kind: Service` with `group: \"\"`",
            );
        }
        if name.as_deref().unwrap_or_default().is_empty() {
            notes.error(&at.field("name"), "is required: write the name of the Service");
        }
        if namespace.as_deref().is_some_and(|namespace| !namespace.is_empty()) {
            notes.error(
                &at.field("namespace"),
                "cannot be given: a policy speaks for its own namespace; put the policy there",
            );
        }
    }
}

/// What the policy selects, as far as it can be read where the rest is wrong. `None`: it cannot be told.
fn selection(value: &Value) -> Option<(Labels, Option<Vec<String>>)> {
    let absent = Value::Null;
    let spec = value.get("spec").unwrap_or(&absent);
    if !spec.is_object() && !spec.is_null() {
        return None;
    }
    let labels = match spec.get("selector") {
        None | Some(Value::Null) => Labels::new(),
        Some(Value::Object(selector)) if selector.keys().all(|key| key == "matchLabels") => match selector
            .get("matchLabels")
        {
            None | Some(Value::Null) => Labels::new(),
            Some(Value::Object(labels)) => {
                let texts = labels.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
                texts.collect::<Option<Labels>>()?
            }
            Some(_) => return None,
        },
        Some(_) => return None,
    };
    let known = ["selector", "targetRef", "targetRefs", "rules", "action", "provider"];
    if spec.as_object().is_some_and(|spec| spec.keys().any(|key| !known.contains(&key.as_str()))) {
        // A misspelt selector would otherwise select everything but in words.
        return if labels.is_empty() { None } else { Some((labels, None)) };
    }
    let targets = spec
        .get("targetRef")
        .into_iter()
        .chain(spec.get("targetRefs").and_then(Value::as_array).into_iter().flatten());
    let targets: Vec<&Value> = targets.filter(|target| !target.is_null()).collect();
    let of_services =
        targets.iter().filter(|target| target.get("kind").and_then(Value::as_str) == Some("Service"));
    let names = of_services.filter_map(|target| target.get("name")?.as_str().map(str::to_owned)).collect();
    Some((labels, (!targets.is_empty()).then_some(names)))
}
