//! Agents of a cluster: bound tokens of trusted accounts, reviewed by the API server, of pods that we know ourselves.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kube::Client;
use tokio::sync::Semaphore;
use tonic::Status;

use super::claims::{Bound, Denial};
use super::memory::Memory;
use super::review::{self, Away};
use super::{Caller, Digest, Presented, Standing, hash};
use crate::limit::Limiter;
use crate::metrics::Metrics;
use crate::published::Latest;
use crate::readiness::Readiness;

/// Reviews under way.
const AT_ONCE: usize = 8;
/// How long a caller waits for its turn.
const TURN: Duration = Duration::from_secs(3);
/// Reviews that one address may cause at once, and each second: an agent needs one in ten seconds.
const OF_ONE: (u32, u32) = (50, 2);
/// Reviews that all may cause: a thousand agents that come back at once are let in within ten seconds.
const OF_ALL: (u32, u32) = (400, 100);
/// Refusals that are logged as such, at once and each second.
const LOGGED: (u32, u32) = (50, 5);
/// Key of what readiness is told.
const NOTE: &str = "tokens";

/// `NAMESPACE/NAME` of a service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Account {
    /// From `system:serviceaccount:NAMESPACE:NAME`.
    pub fn of_username(username: &str) -> Option<Self> {
        let (namespace, name) = username.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        Self::of(namespace, name)
    }

    fn of(namespace: &str, name: &str) -> Option<Self> {
        let plain = |text: &str, also: &str| {
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c);
            !text.is_empty() && text.len() <= 253 && text.chars().all(letter)
        };
        let fits = plain(namespace, "-") && plain(name, "-.");
        fits.then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(namespace, name)| Self::of(namespace, name));
        parts.ok_or_else(|| "write a service account as NAMESPACE/NAME".to_owned())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whom to let in.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// One of these a token must be for.
    pub audiences: Vec<String>,
    /// Of one of these it must be.
    pub accounts: Vec<Account>,
}

/// The second way to know callers.
pub struct Accounts {
    client: Client,
    trusted: Trusted,
    published: Latest,
    memory: Mutex<Memory>,
    turns: Semaphore,
    /// Of each address, of all, and of what is logged.
    limits: [Mutex<Limiter>; 3],
    metrics: Arc<Metrics>,
    readiness: Readiness,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("trusted", &self.trusted).finish_non_exhaustive()
    }
}

impl Accounts {
    /// Lets in whom the cluster and our own records of pods vouch for.
    pub fn new(
        client: Client,
        trusted: Trusted,
        published: Latest,
        metrics: Arc<Metrics>,
        readiness: Readiness,
    ) -> Self {
        let limits =
            [OF_ONE, OF_ALL, LOGGED].map(|(burst, per_second)| Mutex::new(Limiter::new(burst, per_second)));
        let (memory, turns) = (Mutex::default(), Semaphore::new(AT_ONCE));
        Self { client, trusted, published, memory, turns, limits, metrics, readiness }
    }

    /// # Errors
    /// Unauthenticated, or unavailable.
    pub(super) async fn authenticate(&self, presented: &Presented) -> Result<Caller, Status> {
        let Trusted { audiences, accounts } = &self.trusted;
        let read = presented
            .token()
            .ok_or(Denial::NoToken)
            .and_then(|token| Ok((token, Bound::read(token, (audiences, accounts), SystemTime::now())?)));
        let (token, (bound, ends)) = read.map_err(|denial| self.refuse(presented, None, denial.into()))?;
        // What our own records rule out is not worth a question.
        let decided = match self.known(&bound) {
            Ok(()) => self.reviewed(token, &bound, presented.peer).await,
            Err(no) => Err(no),
        };
        decided.map_err(|no| self.refuse(presented, Some(&bound), no))?;
        self.count("accepted");
        let node = bound.node.as_str().into();
        Ok(Caller { node, standing: Standing::Pod { bound: Arc::new(bound), ends } })
    }

    /// Our own record, as of now.
    fn known(&self, bound: &Bound) -> Result<(), No> {
        let published = self.published.borrow().clone();
        let published = published.ok_or_else(|| No::NotNow("pods are not known yet".to_owned()))?;
        bound.agrees(&published).map_err(|mismatch| Denial::Record(mismatch).into())
    }

    /// What the API server says of the token, or said a moment ago.
    async fn reviewed(&self, token: &str, bound: &Bound, peer: Option<IpAddr>) -> Result<(), No> {
        let digest = hash(token);
        if let Some(said) = self.recall(&digest) {
            return said.map_err(No::from);
        }
        let turn = tokio::time::timeout(TURN, self.turns.acquire()).await;
        let _turn = turn.map_err(|_elapsed| No::NotNow("too many tokens are under review".to_owned()))?;
        // Whoever had the turn before may have asked for the same token.
        if let Some(said) = self.recall(&digest) {
            return said.map_err(No::from);
        }
        self.limit(peer)?;
        let Trusted { audiences, accounts } = &self.trusted;
        let status = match review::ask(&self.client, token, audiences).await {
            Ok(status) => status,
            Err(away) => return Err(self.away(&away)),
        };
        self.readiness.clear(NOTE);
        let vouched = review::judge(&status, audiences, accounts);
        // Somebody else than the token says: nothing that was looked at before would hold.
        let said = vouched.and_then(|vouched| if vouched == *bound { Ok(()) } else { Err(Denial::Rejected) });
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).keep(digest, said, Instant::now());
        said?;
        self.known(bound)
    }

    fn recall(&self, digest: &Digest) -> Option<Result<(), Denial>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).recall(digest, Instant::now())
    }

    fn limit(&self, peer: Option<IpAddr>) -> Result<(), No> {
        let [of_one, of_all, _] = &self.limits;
        let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
        if take(of_one, &peer) && take(of_all, "") {
            return Ok(());
        }
        Err(No::NotNow("too many tokens to review; try again later".to_owned()))
    }

    fn away(&self, away: &Away) -> No {
        if let Away::Forbidden(message) = away {
            self.readiness.block(NOTE, &crate::rights::lacking(message));
        }
        No::NotNow(format!("the API server does not review tokens: {away}"))
    }

    /// Asks once whether tokens can be reviewed at all: who may not must not wait for an agent to find out.
    pub async fn try_out(&self) -> bool {
        let asked = review::ask(&self.client, "not-a-token", &self.trusted.audiences).await;
        match &asked {
            Ok(_) => self.readiness.clear(NOTE),
            Err(away) => drop(self.away(away)),
        }
        asked.is_ok()
    }

    /// # Errors
    /// The pod's record disagrees, or the token has ended: the agent has a newer one, and comes back with it.
    pub(super) fn still_good(&self, bound: &Bound, ends: SystemTime) -> Result<(), Status> {
        if ends <= SystemTime::now() {
            return Err(Status::unavailable(
                "the stream's token has ended; open another one with the newer token",
            ));
        }
        self.known(bound).map_err(|no| match no {
            No::Denied(denial) => Status::unauthenticated(denial.to_string()),
            No::NotNow(why) => Status::unavailable(why),
        })
    }

    /// `bound`: what the token says of itself.
    fn refuse(&self, presented: &Presented, bound: Option<&Bound>, no: No) -> Status {
        let (reason, why) = match &no {
            No::Denied(denial) => (denial.label(), denial.to_string()),
            No::NotNow(why) => ("unavailable", why.clone()),
        };
        self.count(reason);
        let peer = presented.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let (pod, node) = bound.map_or(("", ""), |bound| (&*bound.pod, &*bound.node));
        if take(&self.limits[2], "") {
            tracing::warn!(peer, reason, why, pod, node, "caller refused");
        } else {
            tracing::debug!(peer, reason, why, pod, node, "caller refused");
        }
        match no {
            No::Denied(_) => {
                Status::unauthenticated("the token is not accepted; the controller's log says why")
            }
            No::NotNow(why) => Status::unavailable(why),
        }
    }

    fn count(&self, result: &str) {
        self.metrics.callers.with_label_values(&[result]).inc();
    }
}

/// Not let in: never with this token, or not now.
#[derive(Debug)]
enum No {
    Denied(Denial),
    NotNow(String),
}

impl From<Denial> for No {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

fn take(limit: &Mutex<Limiter>, who: &str) -> bool {
    limit.lock().unwrap_or_else(PoisonError::into_inner).take(who, Instant::now())
}
