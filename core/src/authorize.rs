//! Whether a flow may proceed: the only place that makes a [`Permit`].

use std::net::{IpAddr, SocketAddr};

use crate::identity::Identity;
use crate::mtls::MtlsMode;
use crate::names::{Generation, PolicyName};
use crate::policy::{Action, Subject};
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

/// Leave to open one tunnel stream or to dial one application socket. Only [`authorize`] and
/// [`authorize_outbound`] make one; it is consumed by the dial.
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
    /// A DENY policy matched.
    #[error("denied by policy {0}")]
    DeniedBy(PolicyName),
    /// There are ALLOW policies and none matched.
    #[error("no ALLOW policy matched")]
    NoAllowMatched,
}

/// Judges an inbound flow at the destination: this check counts.
///
/// # Errors
/// Every reason to refuse. Deny is the default: whatever is missing denies.
pub fn authorize(snapshot: &Snapshot, local: &LocalWorkload, flow: &Flow) -> Result<Permit, Denied> {
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
    let subject = Subject {
        identity,
        source: flow.source.to_canonical(),
        destination: flow.destination.ip().to_canonical(),
        port: flow.destination.port(),
    };
    judge(snapshot, &local.policies, &subject)?;
    Ok(Permit { generation: snapshot.generation(), destination: flow.destination })
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

fn judge(snapshot: &Snapshot, names: &[PolicyName], subject: &Subject<'_>) -> Result<(), Denied> {
    let (mut allows, mut allowed) = (false, false);
    let mut denied = None;
    for name in names {
        let policy = snapshot.policy(name).ok_or_else(|| Denied::PolicyMissing(name.clone()))?;
        match policy.action {
            Action::Deny if denied.is_none() && policy.matches(subject) => denied = Some(name.clone()),
            Action::Deny => {}
            Action::Allow => {
                allows = true;
                allowed = allowed || policy.matches(subject);
            }
        }
    }
    match denied {
        Some(name) => Err(Denied::DeniedBy(name)),
        None if allows && !allowed => Err(Denied::NoAllowMatched),
        None => Ok(()),
    }
}
