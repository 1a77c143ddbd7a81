//! Which mTLS mode a workload's ports have: Istio's precedence over PeerAuthentication objects, pure.
//!
//! Workload (with a selector) over namespace over mesh (in a root namespace); within a level the oldest
//! object wins; UNSET inherits from the level above; PERMISSIVE where nobody says anything. Source: Istio's
//! PeerAuthentication reference and pilot's composition of policies: a selector in a root namespace selects
//! nothing, and portLevelMtls counts only beside a selector.

use std::sync::Arc;

use heddle_core::mtls::{MtlsMode, MtlsPolicy};

use super::input::{Labels, PeerAuthenticationInput};
use super::selector;

/// Namespaces whose policies speak for the whole mesh.
pub const ROOT_NAMESPACES: [&str; 2] = ["istio-system", "heddle-system"];

/// Whether policies of this namespace speak for the whole mesh.
pub fn is_root(namespace: &str) -> bool {
    ROOT_NAMESPACES.contains(&namespace)
}

/// One object, with its place.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its content.
    pub policy: &'a PeerAuthenticationInput,
}

impl Candidate<'_> {
    /// Oldest first; then by name and namespace, so that every controller picks the same.
    fn age(&self) -> (bool, &str, &str, &str) {
        (self.policy.created.is_empty(), &self.policy.created, self.name, self.namespace)
    }
}

/// What is in force for a pod.
#[derive(Clone, Debug)]
pub struct Effective<'a> {
    /// The modes.
    pub policy: MtlsPolicy,
    /// Name of the object that selected the pod, if one did: exceptions by port are its.
    pub selected_by: Option<&'a str>,
}

/// What is in force for a pod of `namespace` with these labels. `candidates` may hold objects of any namespace: those that
/// do not concern the pod are skipped.
pub fn effective<'a>(
    namespace: &str,
    labels: &Labels,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
) -> Effective<'a> {
    let (mut mesh, mut whole_namespace, mut workload) = (None, None, None);
    for candidate in candidates {
        let root = is_root(candidate.namespace);
        if candidate.policy.selector.is_empty() {
            if root {
                keep_oldest(&mut mesh, candidate);
            } else if candidate.namespace == namespace {
                keep_oldest(&mut whole_namespace, candidate);
            }
        } else if !root
            && candidate.namespace == namespace
            && selector::selects(&candidate.policy.selector, labels)
        {
            keep_oldest(&mut workload, candidate);
        }
    }
    let own = |level: &Option<Candidate<'_>>| level.as_ref().and_then(|candidate| candidate.policy.mode);
    let mode = own(&workload).or(own(&whole_namespace)).or(own(&mesh)).unwrap_or(MtlsMode::Permissive);
    let ports = workload.iter().flat_map(|candidate| &candidate.policy.ports);
    let exceptions = ports.map(|(port, exception)| (*port, exception.unwrap_or(mode)));
    let policy = MtlsPolicy::new(mode, exceptions.filter(|(_, exception)| *exception != mode));
    Effective { policy, selected_by: workload.map(|candidate| candidate.name) }
}

/// Why an object has no effect, though it is valid.
pub fn without_effect(namespace: &str, policy: &PeerAuthenticationInput) -> Option<Arc<str>> {
    if is_root(namespace) && !policy.selector.is_empty() {
        return Some(
            "a selector in a root namespace selects nothing; move the object to the workload's namespace"
                .into(),
        );
    }
    if policy.selector.is_empty() && !policy.ports.is_empty() {
        return Some("portLevelMtls counts only beside a selector; add one".into());
    }
    None
}

fn keep_oldest<'a>(held: &mut Option<Candidate<'a>>, candidate: Candidate<'a>) {
    if held.as_ref().is_none_or(|other| candidate.age() < other.age()) {
        *held = Some(candidate);
    }
}

#[cfg(test)]
#[path = "peer_authentication/tests.rs"]
mod tests;
