//! `parentRefs`: what a route asks to be attached to.

use std::collections::HashSet;

use heddle_core::route::model::ServiceParent;
use serde::Deserialize;
use serde_json::Value;

use super::schema::ParentReference;
use super::{GATEWAY_GROUP, Scope};
use crate::names;
use crate::report::{At, Notes};

const MOST: usize = 32;

/// A parent as written, with its defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ParentRef {
    /// Empty for a Service.
    pub group: String,
    /// `Service`, `Gateway`, …
    pub kind: String,
    /// The route's own where none was written.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// A part of it: a Gateway's listener; of a Service there is none.
    pub section_name: Option<String>,
    /// One port of it.
    pub port: Option<u16>,
}

impl ParentRef {
    /// Whether the mesh is asked, and not a gateway.
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }

    fn of(written: &ParentReference, namespace: &str) -> Self {
        let text = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.to_owned());
        Self {
            group: text(&written.group, GATEWAY_GROUP),
            kind: text(&written.kind, "Gateway"),
            namespace: text(&written.namespace, namespace),
            name: text(&written.name, ""),
            section_name: written.section_name.clone(),
            port: written.port.and_then(|port| u16::try_from(port).ok()),
        }
    }
}

pub(super) fn read(
    written: &[ParentReference],
    scope: &Scope<'_>,
    at: &At<'_>,
    notes: &mut Notes,
) -> Vec<ParentRef> {
    super::at_most(written.len(), MOST, at, notes);
    let mut seen = HashSet::new();
    let mut parents = Vec::with_capacity(written.len());
    for (index, each) in written.iter().enumerate() {
        let at = at.index(index);
        let parent = ParentRef::of(each, scope.namespace);
        if parent.name.is_empty() {
            notes.error(&at.field("name"), "is required: write the name of the Service or Gateway");
        }
        if !names::is_dns_label(&parent.namespace) {
            notes.error(
                &at.field("namespace"),
                format!("{:?} is not a namespace: {}", parent.namespace, names::DNS_LABEL),
            );
        }
        if let Some(port) = each.port.filter(|port| !(1..=65_535).contains(port)) {
            notes.error(
                &at.field("port"),
                format!("port {port} does not exist: write a port from 1 to 65535"),
            );
        }
        if parent.kind == "Service" && !parent.group.is_empty() {
            let message =
                format!("a Service is of the core group, not of {:?}: write `group: \"\"`", parent.group);
            notes.error(&at.field("group"), message);
        } else if !parent.is_service() {
            notes.unserved(
                &at,
                format!(
                    "a {} as a parent is not served yet: the route takes effect for Services only",
                    parent.kind
                ),
            );
        }
        if !seen.insert(parent.clone()) {
            notes.error(&at, "stands twice in the list: remove one, or name different ports");
        }
        parents.push(parent);
    }
    if written.is_empty() {
        notes.warning(at, "is empty: the route takes no traffic; write `- group: \"\"`, `kind: Service` and the name of a Service");
    }
    parents
}

/// The parents of a route whose spec cannot be read, as far as they can.
pub(super) fn salvage(value: &Value, namespace: &str) -> Vec<ParentRef> {
    let list = value.pointer("/spec/parentRefs").and_then(Value::as_array);
    let read = list.into_iter().flatten().filter_map(|each| ParentReference::deserialize(each).ok());
    read.take(MOST).map(|each| ParentRef::of(&each, namespace)).collect()
}

/// Those that are Services.
pub(super) fn services(parents: &[ParentRef], scope: &Scope<'_>) -> Vec<ServiceParent> {
    let services = parents.iter().filter(|parent| parent.is_service());
    let mut read: Vec<ServiceParent> = Vec::new();
    for parent in services {
        let parent = ServiceParent {
            namespace: parent.namespace.clone(),
            hostname: format!("{}.{}.svc.{}", parent.name, parent.namespace, scope.context.cluster_domain),
            port: parent.port,
            consumer: parent.namespace != scope.namespace,
        };
        if !read.contains(&parent) {
            read.push(parent);
        }
    }
    read
}
