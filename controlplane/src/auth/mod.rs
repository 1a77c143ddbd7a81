//! Who calls: an agent, known by its token, and the node that the token speaks for.
//!
//! ```text
//! Authorization: Bearer …  ─► tokens    a file, in the sandbox: the token's digest ► node
//!                          └► accounts  in a cluster: claims ► own pod record ► memory ► TokenReview ► node
//! ```
//! Whatever cannot be decided lets nobody in: a token that is not good is `Unauthenticated`, and a decision that cannot be
//! made now is `Unavailable`, so that agents ask again.

pub mod accounts;
mod claims;
mod memory;
mod review;
pub mod tokens;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use tonic::{Request, Status};

pub use accounts::{Account, Accounts};
pub use claims::Bound;
pub use tokens::Tokens;

/// A caller whose token was good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The node that the token is bound to.
    pub node: Arc<str>,
    standing: Standing,
}

/// What the caller's standing rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// An entry of the file of tokens.
    Entry(Digest),
    /// A token of a service account that is bound to a pod.
    Pod { bound: Arc<Bound>, ends: SystemTime },
}

impl Caller {
    /// Who asked, for logs: the agent's pod, or nothing where only the node is known.
    pub fn pod(&self) -> &str {
        match &self.standing {
            Standing::Entry(_) => "",
            Standing::Pod { bound, .. } => &bound.pod,
        }
    }
}

/// How callers are known.
#[derive(Debug)]
pub enum Callers {
    /// By a file of tokens.
    Tokens(Tokens),
    /// By tokens of service accounts that the cluster has issued.
    Accounts(Box<Accounts>),
}

impl Callers {
    /// Authenticates a call by its `authorization: Bearer <token>`.
    ///
    /// # Errors
    /// Unauthenticated, without saying why; or unavailable, where that cannot be told now.
    pub async fn authenticate(&self, presented: &Presented) -> Result<Caller, Status> {
        match self {
            Self::Tokens(tokens) => tokens.authenticate(presented),
            Self::Accounts(accounts) => accounts.authenticate(presented).await,
        }
    }

    /// Whether what let a caller in still holds. Nobody is asked.
    ///
    /// # Errors
    /// What ends its stream.
    pub fn still_good(&self, caller: &Caller) -> Result<(), Status> {
        match (self, &caller.standing) {
            (Self::Tokens(tokens), Standing::Entry(hash)) if tokens.is_good(hash, &caller.node) => Ok(()),
            (Self::Accounts(accounts), Standing::Pod { bound, ends }) => accounts.still_good(bound, *ends),
            _ => Err(Status::unauthenticated("the join token was revoked")),
        }
    }

    /// Nodes that are expected although no Node object says so.
    pub fn nodes(&self) -> Vec<Arc<str>> {
        match self {
            Self::Tokens(tokens) => tokens.nodes(),
            Self::Accounts(_) => Vec::new(),
        }
    }
}

/// SHA-256 of a token: by it tokens are compared and remembered.
pub(crate) type Digest = [u8; 32];

/// What a call brings.
pub struct Presented {
    token: Option<String>,
    /// Where it comes from.
    peer: Option<IpAddr>,
}

impl Presented {
    /// Of a request.
    pub fn of<T>(request: &Request<T>) -> Self {
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer ")).map(str::trim);
        let token = token.filter(|token| !token.is_empty()).map(str::to_owned);
        let peer = request.extensions().get::<Option<SocketAddr>>().copied().flatten();
        Self { token, peer: peer.map(|peer| peer.ip().to_canonical()) }
    }

    fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

/// Without the token.
impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("peer", &self.peer).finish_non_exhaustive()
    }
}

fn hash(token: &str) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}
