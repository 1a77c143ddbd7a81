//! ReferenceGrant: which objects of other namespaces may name objects of this one.

use serde_json::Value;

use super::schema::ReferenceGrantSpec;
use crate::diagnostic::Problem;
use crate::names;
use crate::normalised::{Normalised, Resource};
use crate::object::Object;
use crate::report::{At, Notes};

/// A grant, of its own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Who may.
    pub from: Vec<GrantFrom>,
    /// What.
    pub to: Vec<GrantTo>,
}

/// Objects of a kind in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantFrom {
    /// `gateway.networking.k8s.io`.
    pub group: String,
    /// `HTTPRoute`.
    pub kind: String,
    /// Where they live.
    pub namespace: String,
}

/// Objects of a kind in the grant's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantTo {
    /// Empty for the core group.
    pub group: String,
    /// `Service`.
    pub kind: String,
    /// `None`: all of them.
    pub name: Option<String>,
}

impl Grant {
    /// Whether a route of this kind and namespace may name a Service of the grant's namespace.
    pub fn allows(&self, route_kind: &str, route_namespace: &str, service: &str) -> bool {
        let from = |each: &GrantFrom| {
            each.group == super::GATEWAY_GROUP && each.kind == route_kind && each.namespace == route_namespace
        };
        let to = |each: &GrantTo| {
            each.group.is_empty()
                && each.kind == "Service"
                && each.name.as_deref().is_none_or(|name| name == service)
        };
        self.from.iter().any(from) && self.to.iter().any(to)
    }
}

/// Reads a ReferenceGrant.
pub fn reference_grant(object: &Object) -> Normalised<Grant> {
    read(&object.value)
}

/// Schema and rules.
pub(crate) fn check(value: &Value) -> Vec<Problem> {
    read(value).problems
}

fn read(value: &Value) -> Normalised<Grant> {
    let mut notes = Notes::default();
    let Some(resource) = Resource::<ReferenceGrantSpec>::read(value, &mut notes) else {
        return Normalised::new(None, notes);
    };
    let spec = At::root("spec");
    let mut grant = Grant::default();
    let at = spec.field("from");
    super::some_at_most(resource.spec.from.len(), 16, &at, &mut notes);
    for (index, from) in resource.spec.from.iter().enumerate() {
        let at = at.index(index);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (group, kind, namespace) = (text(&from.group), text(&from.kind), text(&from.namespace));
        if from.group.is_none() {
            notes.error(&at.field("group"), "is required: write `group: gateway.networking.k8s.io`");
        }
        if kind.is_empty() {
            notes.error(&at.field("kind"), "is required: write for example `kind: HTTPRoute`");
        }
        if !names::is_dns_label(&namespace) {
            notes.error(
                &at.field("namespace"),
                format!("{namespace:?} is not a namespace: {}", names::DNS_LABEL),
            );
        }
        grant.from.push(GrantFrom { group, kind, namespace });
    }
    let at = spec.field("to");
    super::some_at_most(resource.spec.to.len(), 16, &at, &mut notes);
    for (index, to) in resource.spec.to.iter().enumerate() {
        let at = at.index(index);
        if to.group.is_none() {
            notes.error(&at.field("group"), "is required: write `group: \"\"` for a Service");
        }
        if to.kind.is_none() {
            notes.error(&at.field("kind"), "is required: write for example `kind: Service`");
        }
        let (group, kind) = (to.group.clone().unwrap_or_default(), to.kind.clone().unwrap_or_default());
        grant.to.push(GrantTo { group, kind, name: to.name.clone().filter(|name| !name.is_empty()) });
    }
    Normalised::new(Some(grant), notes)
}
