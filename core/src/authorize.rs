//! Whether a flow may proceed: the only place that makes a [`Permit`].

use std::net::{IpAddr, SocketAddr};

use crate::identity::Identity;
use crate::mtls::MtlsMode;
use crate::names::{Generation, PolicyName};
use crate::policy::{Action, Policy, RequestFacts, Subject, Truth};
use crate::snapshot::Snapshot;
use crate::workload::LocalWorkload;

/// Who is at the other end of an inbound connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The TLS handshake proved it.
    Verified(Identity),
    /// Nobody in particular: plaintext.
    Plaintext,
}

/// An inbound connection, before it is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who connects.
    pub peer: Peer,
    /// From where; a hint for `ipBlocks`, never an identity.
    pub source: IpAddr,
    /// Address and port of the pod that is dialled.
    pub destination: SocketAddr,
}

/// Leave to open one tunnel stream or to dial one application socket. Only the functions of this module make one; it is
/// consumed by the dial.
#[derive(Debug)]
#[must_use = "a permit that is not used lets nobody through"]
pub struct Permit {
    generation: Generation,
    destination: SocketAddr,
}

impl Permit {
    /// Where it leads.
    pub fn destination(&self) -> SocketAddr {
        self.destination
    }
    /// The configuration under which it was given.
    pub fn generation(&self) -> Generation {
        self.generation
    }
}

/// What is said of a connection that is not refused.
#[derive(Debug)]
pub enum Verdict {
    /// It may proceed, whatever it carries.
    Permit(Permit),
    /// Its requests decide, each by [`authorize_request`]; if it carries none, [`authorize_opaque`] does.
    PerRequest,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The pod is not (or no longer) enrolled.
    #[error("the pod is not enrolled")]
    NotEnrolled,
    /// STRICT, and the client came without mTLS.
    #[error("the workload takes mTLS only and the connection is plaintext")]
    MtlsRequired,
    /// The client's trust domain is not the mesh's.
    #[error("trust domain of the client is not trusted")]
    TrustDomain,
    /// The workload names a policy that the agent does not have (or could not read).
    #[error("policy {0} applies and is not known")]
    PolicyMissing(PolicyName),
    /// A rule of a DENY policy matched.
    #[error("denied by policy {0}, rule {1}")]
    DeniedBy(PolicyName, usize),
    /// There are ALLOW policies and none matched.
    #[error("no ALLOW policy matched")]
    NoAllowMatched,
}

impl Denied {
    /// Envoy's `RESPONSE_CODE_DETAILS` for it, with the names that Istio gives to rules.
    pub fn response_code_details(&self) -> String {
        let place = |name: &PolicyName| {
            let (namespace, name) = name.as_str().split_once('/').unwrap_or(("", name.as_str()));
            format!("ns[{namespace}]-policy[{name}]")
        };
        let matched = match self {
            Self::DeniedBy(policy, rule) => format!("{}-rule[{rule}]", place(policy)),
            Self::PolicyMissing(policy) => place(policy),
            Self::NotEnrolled | Self::MtlsRequired | Self::TrustDomain | Self::NoAllowMatched => {
                "none".into()
            }
        };
        format!("rbac_access_denied_matched_policy[{matched}]")
    }
}

/// Judges an inbound connection at the destination: this check counts. Where a policy asks something of requests that
/// could decide, or could be told the reason of the refusal, it is left to them.
///
/// # Errors
/// Every reason to refuse. Deny is the default: whatever is missing denies.
pub fn authorize(snapshot: &Snapshot, local: &LocalWorkload, flow: &Flow) -> Result<Verdict, Denied> {
    let subject = subject(local, flow)?;
    match judge_connection(snapshot, &local.policies, &subject)? {
        Truth::Yes => Ok(Verdict::Permit(permit(snapshot, flow))),
        Truth::Depends | Truth::No => Ok(Verdict::PerRequest),
    }
}

/// Judges one request of a connection, by everything that is known of both.
///
/// # Errors
/// Every reason to refuse.
pub fn authorize_request(
    snapshot: &Snapshot,
    local: &LocalWorkload,
    flow: &Flow,
    request: &RequestFacts<'_>,
) -> Result<Permit, Denied> {
    let subject = subject(local, flow)?;
    judge(snapshot, &local.policies, |policy| match policy.rule_for(&subject, request) {
        Some(rule) => (true, rule),
        None => (false, 0),
    })?;
    Ok(permit(snapshot, flow))
}

/// Judges a connection that carries no HTTP: what an ALLOW rule asks of requests is not met, what a DENY rule asks is.
///
/// # Errors
/// Every reason to refuse.
pub fn authorize_opaque(snapshot: &Snapshot, local: &LocalWorkload, flow: &Flow) -> Result<Permit, Denied> {
    let subject = subject(local, flow)?;
    judge(snapshot, &local.policies, |policy| {
        let (truth, rule) = policy.of_connection(&subject);
        (truth == Truth::Yes || (truth == Truth::Depends && policy.action == Action::Deny), rule)
    })?;
    Ok(permit(snapshot, flow))
}

fn permit(snapshot: &Snapshot, flow: &Flow) -> Permit {
    Permit { generation: snapshot.generation(), destination: flow.destination }
}

/// What policies are asked about, if enrolment, trust domain and mTLS mode let it come so far.
fn subject<'a>(local: &LocalWorkload, flow: &'a Flow) -> Result<Subject<'a>, Denied> {
    if !local.enrolled {
        return Err(Denied::NotEnrolled);
    }
    let identity = match &flow.peer {
        Peer::Verified(identity) => {
            if identity.trust_domain() != local.identity.trust_domain() {
                return Err(Denied::TrustDomain);
            }
            Some(identity)
        }
        Peer::Plaintext => match local.mtls.mode(flow.destination.port()) {
            MtlsMode::Strict => return Err(Denied::MtlsRequired),
            MtlsMode::Permissive | MtlsMode::Disable => None,
        },
    };
    Ok(Subject {
        identity,
        source: flow.source.to_canonical(),
        destination: flow.destination.ip().to_canonical(),
        port: flow.destination.port(),
    })
}

/// Judges an outbound flow at the source: cheap, and only a courtesy to the receiver, whose check counts.
///
/// # Errors
/// The source is not enrolled.
pub fn authorize_outbound(
    snapshot: &Snapshot,
    local: &LocalWorkload,
    destination: SocketAddr,
) -> Result<Permit, Denied> {
    if !local.enrolled {
        return Err(Denied::NotEnrolled);
    }
    Ok(Permit { generation: snapshot.generation(), destination })
}

/// DENY first, then ALLOW, over policies of which each either matches (by some rule) or does not.
fn judge(
    snapshot: &Snapshot,
    names: &[PolicyName],
    matches: impl Fn(&Policy) -> (bool, usize),
) -> Result<(), Denied> {
    let (mut allows, mut allowed) = (false, false);
    let mut denied = None;
    for name in names {
        let policy = snapshot.policy(name).ok_or_else(|| Denied::PolicyMissing(name.clone()))?;
        let matched = || matches(policy);
        match policy.action {
            Action::Deny if denied.is_none() => {
                if let (true, rule) = matched() {
                    denied = Some(Denied::DeniedBy(name.clone(), rule));
                }
            }
            Action::Deny => {}
            Action::Allow => {
                allows = true;
                allowed = allowed || matched().0;
            }
        }
    }
    match denied {
        Some(denied) => Err(denied),
        None if allows && !allowed => Err(Denied::NoAllowMatched),
        None => Ok(()),
    }
}

/// What is certain before there is a request: `Yes` permits. `No` is a refusal that is left to the requests to be told of,
/// because the policies speak of requests; where they do not, it is an error at once.
fn judge_connection(
    snapshot: &Snapshot,
    names: &[PolicyName],
    subject: &Subject<'_>,
) -> Result<Truth, Denied> {
    let (mut allow, mut deny, mut asks) = (None, Truth::No, false);
    let mut denied = None;
    for name in names {
        let policy = snapshot.policy(name).ok_or_else(|| Denied::PolicyMissing(name.clone()))?;
        let (truth, rule) = policy.of_connection(subject);
        let asking = policy.asks_requests();
        asks = asks || asking;
        match policy.action {
            Action::Deny => {
                deny = deny.max(truth);
                if truth == Truth::Yes && !asking && denied.is_none() {
                    denied = Some(Denied::DeniedBy(name.clone(), rule));
                }
            }
            Action::Allow => allow = Some(allow.unwrap_or(Truth::No).max(truth)),
        }
    }
    match (denied, deny, allow.unwrap_or(Truth::Yes)) {
        (Some(denied), _, _) => Err(denied),
        (None, _, Truth::No) if !asks => Err(Denied::NoAllowMatched),
        (None, Truth::No, Truth::Yes) => Ok(Truth::Yes),
        (None, Truth::Yes, _) | (None, _, Truth::No) => Ok(Truth::No),
        (None, _, _) => Ok(Truth::Depends),
    }
}
