//! Whether a certificate may be made, and for which identity. Pure.

use std::sync::Arc;

use heddle_core::identity::Identity;

use crate::index::{Output, PodRecord};

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// heddle-agent: a pod by UID.
    Pod(String),
    /// ztunnel: the identity of some pod of its node.
    Identity(String),
}

/// Why not. The text goes to the caller, who has proven to be a node of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody knows the pod, or no pod of the node has the identity.
    #[error("no such pod")]
    UnknownPod,
    /// It runs elsewhere, or nowhere yet.
    #[error("the pod is not bound to the caller's node")]
    OtherNode,
    /// It has ended.
    #[error("the pod has ended")]
    Terminal,
    /// It is its node, on the network.
    #[error("a pod with hostNetwork has no identity of its own")]
    HostNetwork,
    /// It is not in the mesh.
    #[error("the pod is not enrolled")]
    NotEnrolled,
    /// Its namespace or service account cannot be put into an identity.
    #[error("the pod's identity breaks the SPIFFE grammar")]
    Grammar,
}

impl Refusal {
    /// Label of a counter.
    pub fn label(self) -> &'static str {
        match self {
            Self::UnknownPod => "unknown_pod",
            Self::OtherNode => "other_node",
            Self::Terminal => "terminal",
            Self::HostNetwork => "host_network",
            Self::NotEnrolled => "not_enrolled",
            Self::Grammar => "grammar",
        }
    }
}

/// The identity that a node may have a certificate for, and the pod's UID.
///
/// # Errors
/// Anything that does not hold: the pod's existence, node, phase, network, enrolment.
pub fn judge(
    output: &Output,
    trust_domain: &str,
    node: &str,
    subject: &Subject,
) -> Result<(Identity, Arc<str>), Refusal> {
    match subject {
        Subject::Pod(uid) => {
            let pod = output.pod(uid).ok_or(Refusal::UnknownPod)?;
            Ok((judge_pod(pod, trust_domain, node)?, pod.uid.clone()))
        }
        Subject::Identity(text) => {
            let wanted = Identity::parse(text).map_err(|_grammar| Refusal::Grammar)?;
            let mut pods = output.pods();
            pods.find_map(|pod| {
                let identity = judge_pod(pod, trust_domain, node).ok()?;
                (identity == wanted).then(|| (identity, pod.uid.clone()))
            })
            .ok_or(Refusal::UnknownPod)
        }
    }
}

fn judge_pod(pod: &PodRecord, trust_domain: &str, node: &str) -> Result<Identity, Refusal> {
    if pod.node.is_empty() || *pod.node != *node {
        return Err(Refusal::OtherNode);
    }
    if pod.terminal {
        return Err(Refusal::Terminal);
    }
    if pod.host_network {
        return Err(Refusal::HostNetwork);
    }
    if !pod.captured {
        return Err(Refusal::NotEnrolled);
    }
    Identity::new(trust_domain, &pod.namespace, &pod.service_account).map_err(|_grammar| Refusal::Grammar)
}
