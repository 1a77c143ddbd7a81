//! Security objects that are not served: policies that deny whatever they select.

use heddle_proto::istio::security::{Action, Authorization, Rule, Scope};

use super::input::{InputKind, Key, Selection};
use super::peer_authentication::is_root;

/// `<namespace>/<name>`; kinds other than AuthorizationPolicy are prefixed, so that equal names do not meet.
pub(super) fn policy_name(key: &Key) -> String {
    format!("{}/{}", key.namespace, short_name(key))
}

/// Whether the policy is bound to workloads one by one, and not by its namespace.
pub(super) fn by_selector(selection: &Selection) -> bool {
    selection.services.is_some() || !selection.selector.is_empty()
}

/// DENY with one rule that matches everything.
pub(super) fn resource(key: &Key, denial: &Selection) -> Authorization {
    Authorization {
        name: short_name(key),
        namespace: key.namespace.to_string(),
        scope: scope(key, denial).into(),
        action: Action::Deny.into(),
        rules: vec![Rule { clauses: Vec::new() }],
        ..Authorization::default()
    }
}

/// How far a policy reaches.
pub(super) fn scope(key: &Key, selection: &Selection) -> Scope {
    match (by_selector(selection), is_root(&key.namespace)) {
        (true, _) => Scope::WorkloadSelector,
        (false, true) => Scope::Global,
        (false, false) => Scope::Namespace,
    }
}

pub(super) fn short_name(key: &Key) -> String {
    match key.kind {
        InputKind::RequestAuthentication => format!("requestauthentication.{}", key.name),
        InputKind::PeerAuthentication => format!("peerauthentication.{}", key.name),
        _ => key.name.to_string(),
    }
}
