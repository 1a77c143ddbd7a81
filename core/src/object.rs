//! The objects that people write about traffic, normalised: one user object, one wire object, one of these.
//!
//! The controller resolves names (short hosts, `.` in `exportTo`, parents, grants) and keeps everything else as written;
//! agents merge and compile. On the wire an object is this model as JSON inside `heddle.v1.TrafficObject`: one definition
//! for both ends, and a field that an agent does not know refuses the object by name instead of being dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::policy::Policy;
use crate::route::model::RouteObject;
use crate::upstream::model::{DestinationRule, ServiceEntry};

/// Labels of a pod, or those that a selector wants.
pub type Labels = BTreeMap<String, String>;

/// One object about traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "each lives in an Arc of its own")]
pub enum TrafficObject {
    /// VirtualService, HTTPRoute or GRPCRoute.
    Route(RouteObject),
    /// DestinationRule.
    DestinationRule(DestinationRule),
    /// ServiceEntry.
    ServiceEntry(ServiceEntry),
    /// AuthorizationPolicy, with everything that it asks of requests.
    Policy(Policy),
}

/// Which object of the user's something came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRef {
    /// `VirtualService`.
    pub kind: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectRef {
    /// From `<namespace>/<name>`.
    pub fn named(kind: &str, place: &str) -> Self {
        let (namespace, name) = place.split_once('/').unwrap_or(("", place));
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// From which namespaces an object is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExportTo {
    /// `*`, and what says nothing.
    #[default]
    All,
    /// Those named; `.` was replaced by the object's own, `~` is the empty set.
    Namespaces(BTreeSet<String>),
}

impl ExportTo {
    /// Whether clients of this namespace see the object.
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespaces(names) => names.contains(namespace),
        }
    }

    /// Whether any namespace sees both.
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Namespaces(names), Self::Namespaces(others)) => !names.is_disjoint(others),
            (Self::All, Self::Namespaces(names)) | (Self::Namespaces(names), Self::All) => !names.is_empty(),
            (Self::All, Self::All) => true,
        }
    }
}

impl TrafficObject {
    /// Where it came from.
    pub fn source(&self) -> &ObjectRef {
        match self {
            Self::Route(route) => &route.source,
            Self::DestinationRule(rule) => &rule.source,
            Self::ServiceEntry(entry) => &entry.source,
            Self::Policy(policy) => &policy.source,
        }
    }

    /// Whether destinations are made of it.
    pub(crate) fn is_destination(&self) -> bool {
        matches!(self, Self::DestinationRule(_) | Self::ServiceEntry(_))
    }

    /// What may be written to a disk: without private keys, and refusing what would have needed them. `None`: all of it may.
    pub fn without_keys(&self) -> Option<Self> {
        let Self::DestinationRule(rule) = self else { return None };
        let mut rule = rule.clone();
        let DestinationRule { policy, ports, subsets, .. } = &mut rule;
        let of_subsets =
            subsets.iter_mut().flat_map(|part| part.ports.values_mut().chain([&mut part.policy]));
        let mut any = false;
        for policy in ports.values_mut().chain([policy]).chain(of_subsets) {
            if let Some(tls) = policy.tls.as_mut().filter(|tls| tls.private_key.is_some()) {
                tls.private_key = None;
                tls.broken =
                    Some("its private key comes from the controller, which has not been met yet".to_owned());
                any = true;
            }
        }
        any.then_some(Self::DestinationRule(rule))
    }

    /// Its name on the wire: `<kind>/<namespace>/<name>`.
    pub fn wire_name(&self) -> String {
        let ObjectRef { kind, namespace, name } = self.source();
        format!("{kind}/{namespace}/{name}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::upstream::model::{ClientTls, Subset, TrafficPolicy};

    #[test]
    fn no_private_key_is_written_to_a_disk() {
        let tls = || ClientTls { private_key: Some("key".to_owned()), ..ClientTls::default() };
        let policy = || TrafficPolicy { tls: Some(tls()), ..TrafficPolicy::default() };
        let part = Subset {
            name: "v1".to_owned(),
            labels: Labels::new(),
            policy: policy(),
            ports: BTreeMap::from([(80, policy())]),
        };
        let rule = DestinationRule {
            source: ObjectRef::named("DestinationRule", "a/b"),
            created: 0,
            host: "web".to_owned(),
            export_to: ExportTo::All,
            workload_selector: None,
            policy: policy(),
            ports: BTreeMap::from([(81, policy())]),
            subsets: vec![part],
        };
        let object = TrafficObject::DestinationRule(rule);
        let Some(TrafficObject::DestinationRule(saved)) = object.without_keys() else {
            panic!("nothing was taken out")
        };
        let part = &saved.subsets[0];
        for policy in [&saved.policy, &saved.ports[&81], &part.policy, &part.ports[&80]] {
            let tls = policy.tls.as_ref().unwrap();
            assert!(tls.private_key.is_none() && tls.broken.is_some());
        }
        assert!(TrafficObject::DestinationRule(saved).without_keys().is_none());
    }
}
