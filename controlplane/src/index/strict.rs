//! STRICT as policies: what a ztunnel, which knows no modes, enforces in place of PeerAuthentication.
//!
//! Our own agents are told the modes and are named none of these. Names are Istio's; a '_' is in no object's name.

use heddle_core::names::PolicyName;
use heddle_core::policy::Policy;
use heddle_proto::istio::security::string_match::MatchType;
use heddle_proto::istio::security::{Action, Authorization, Clause, Match, Rule, Scope, StringMatch};

use super::peer_authentication::{Effective, ROOT_NAMESPACES};

const NAMESPACE: &str = ROOT_NAMESPACES[0];
const NAME: &str = "istio_converted_static_strict";

/// `<namespace>/<name>` of the policy of every workload that is STRICT at all its ports.
pub(super) fn static_name() -> String {
    format!("{NAMESPACE}/{NAME}")
}

/// `<namespace>/<name>` of the policy of the workloads that one object gives exceptions by port.
pub(super) fn converted_name(namespace: &str, object: &str) -> String {
    format!("{namespace}/{}", converted(object))
}

/// The policy that a workload names, if it needs one.
pub(super) fn name(namespace: &str, effective: &Effective<'_>) -> Option<String> {
    let _needed = effective.policy.denial(PolicyName::new(NAME))?;
    match effective.selected_by {
        Some(object) if !effective.policy.exceptions().is_empty() => Some(converted_name(namespace, object)),
        _ => Some(static_name()),
    }
}

/// The policy of every workload that is STRICT at all its ports.
pub(super) fn static_resource() -> Authorization {
    let everywhere = heddle_core::mtls::MtlsPolicy::new(heddle_core::mtls::MtlsMode::Strict, []);
    let policy = everywhere.denial(PolicyName::new(NAME));
    wire(NAMESPACE, NAME.to_owned(), policy.as_ref())
}

/// The policy that stands for one object's exceptions by port, where it has some that matter.
pub(super) fn converted_resource(
    namespace: &str,
    object: &str,
    effective: &Effective<'_>,
) -> Option<Authorization> {
    let exceptions = effective.selected_by == Some(object) && !effective.policy.exceptions().is_empty();
    let policy = effective.policy.denial(PolicyName::new(NAME)).filter(|_| exceptions)?;
    Some(wire(namespace, converted(object), Some(&policy)))
}

fn converted(object: &str) -> String {
    format!("converted_peer_authentication_{object}")
}

/// Of the core's matches, those that `MtlsPolicy::denial` makes.
fn wire(namespace: &str, name: String, policy: Option<&Policy>) -> Authorization {
    let matches = policy.iter().flat_map(|policy| &policy.rules).flat_map(|rule| &rule.clauses);
    let matches = matches.flat_map(|clause| &clause.matches).map(|each| Match {
        not_principals: vec![StringMatch { match_type: Some(MatchType::Presence(())) }],
        destination_ports: each.destination_ports.iter().map(|port| u32::from(*port)).collect(),
        not_destination_ports: each.not_destination_ports.iter().map(|port| u32::from(*port)).collect(),
        ..Match::default()
    });
    Authorization {
        name,
        namespace: namespace.to_owned(),
        scope: Scope::WorkloadSelector.into(),
        action: Action::Deny.into(),
        rules: vec![Rule { clauses: vec![Clause { matches: matches.collect() }] }],
        ..Authorization::default()
    }
}
