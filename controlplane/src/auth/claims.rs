//! What a bound token says of itself, and whether our own record of the pod says the same. Pure.
//!
//! Nothing here is proof: the API server verifies the signature. It is read first so that what could never be let in is
//! refused without asking anybody.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::Account;
use crate::published::Published;

/// Longest token taken; one of Kubernetes is below 2 KiB.
const MOST_BYTES: usize = 8 * 1024;

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// There is none.
    #[error("there is no token")]
    NoToken,
    /// It is not a token that Kubernetes issues.
    #[error("it is not a token of a service account")]
    Malformed,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It is not that of an agent.
    #[error("the token is of an account that is not trusted")]
    Account,
    /// It names no pod, or no node.
    #[error("the token is bound to no pod or to no node")]
    Unbound,
    /// The API server says no, or something else than the token.
    #[error("the API server does not accept the token")]
    Rejected,
    /// Our record of the pod disagrees.
    #[error("{0}")]
    Record(Mismatch),
}

/// How our record of a pod disagrees with its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// There is none of this UID.
    #[error("no pod with the UID in the token is known")]
    UnknownPod,
    /// It is another pod.
    #[error("the pod with the UID in the token has another name, namespace or account")]
    OtherPod,
    /// It runs elsewhere.
    #[error("the pod in the token is not bound to the node in the token")]
    OtherNode,
    /// The node was taken out of the cluster; its pods are collected later.
    #[error("the node in the token is no node of the cluster any more")]
    NodeGone,
    /// It has ended.
    #[error("the pod in the token has ended")]
    Ended,
}

impl Denial {
    /// Label of a counter.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::Malformed => "malformed",
            Self::Expired => "expired",
            Self::Audience => "audience",
            Self::Account => "account",
            Self::Unbound => "unbound",
            Self::Rejected => "rejected",
            Self::Record(Mismatch::UnknownPod) => "unknown_pod",
            Self::Record(Mismatch::OtherPod) => "other_pod",
            Self::Record(Mismatch::OtherNode) => "other_node",
            Self::Record(Mismatch::NodeGone) => "node_gone",
            Self::Record(Mismatch::Ended) => "ended",
        }
    }
}

/// An account's pod on a node: what a bound token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Of the pod.
    pub account: Account,
    /// Name of the pod.
    pub pod: String,
    /// Its UID.
    pub uid: String,
    /// Where it runs.
    pub node: String,
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    aud: Audiences,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

/// RFC 7519 section 4.1.3.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    pod: Option<Named>,
    node: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    uid: String,
}

impl Bound {
    /// Reads a token for one of these audiences, of one of these accounts, and when it ends.
    ///
    /// # Errors
    /// It can never be let in, whoever signed it.
    pub fn read(
        token: &str,
        (audiences, trusted): (&[String], &[Account]),
        now: SystemTime,
    ) -> Result<(Self, SystemTime), Denial> {
        let claims = claims(token).ok_or(Denial::Malformed)?;
        let ends = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp));
        let ends = ends.filter(|ends| *ends > now).ok_or(Denial::Expired)?;
        let held = match &claims.aud {
            Audiences::One(one) => std::slice::from_ref(one),
            Audiences::Many(many) => many,
        };
        if !held.iter().any(|audience| audiences.contains(audience)) {
            return Err(Denial::Audience);
        }
        let account = Account::of_username(&claims.sub).filter(|account| trusted.contains(account));
        let account = account.ok_or(Denial::Account)?;
        let bound = claims.kubernetes.ok_or(Denial::Unbound)?;
        if bound.namespace != account.namespace {
            return Err(Denial::Account);
        }
        let named = |named: Option<Named>| named.filter(|named| !named.name.is_empty());
        let pod = named(bound.pod).filter(|pod| !pod.uid.is_empty()).ok_or(Denial::Unbound)?;
        let node = named(bound.node).ok_or(Denial::Unbound)?.name;
        Ok((Self { account, pod: pod.name, uid: pod.uid, node }, ends))
    }

    /// Whether our own records of the pod and of its node say the same.
    ///
    /// # Errors
    /// What they say instead.
    pub fn agrees(&self, published: &Published) -> Result<(), Mismatch> {
        let record = published.output.pod(&self.uid).ok_or(Mismatch::UnknownPod)?;
        let same = *record.name == *self.pod
            && *record.namespace == *self.account.namespace
            && *record.service_account == *self.account.name;
        if !same {
            return Err(Mismatch::OtherPod);
        }
        if record.node.is_empty() || *record.node != *self.node {
            return Err(Mismatch::OtherNode);
        }
        if !published.nodes.contains(&record.node) {
            return Err(Mismatch::NodeGone);
        }
        if record.alive() { Ok(()) } else { Err(Mismatch::Ended) }
    }
}

/// RFC 7515 section 7.1: three parts, of which the second are the claims.
fn claims(token: &str) -> Option<Claims> {
    if token.len() > MOST_BYTES {
        return None;
    }
    let mut parts = token.split('.');
    let (_header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if signature.is_empty() || parts.next().is_some() {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn token(claims: &serde_json::Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn read(token: &str) -> Result<(Bound, SystemTime), Denial> {
        let trusted = [Account { namespace: "heddle-system".into(), name: "heddle-agent".into() }];
        Bound::read(token, (&["heddle-ca".to_owned()], &trusted), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_token_as_kubernetes_issues_it_is_read_whole() {
        let claims = json!({"aud": ["heddle-ca"], "exp": 1000, "iat": 1, "iss": "https://kubernetes.default.svc",
            "jti": "j", "nbf": 1, "sub": "system:serviceaccount:heddle-system:heddle-agent",
            "kubernetes.io": {"namespace": "heddle-system", "node": {"name": "n1", "uid": "nu"},
                "pod": {"name": "heddle-agent-x", "uid": "pu"},
                "serviceaccount": {"name": "heddle-agent", "uid": "su"}, "warnafter": 900}});
        let (bound, ends) = read(&token(&claims)).unwrap();
        assert_eq!((&*bound.pod, &*bound.uid, &*bound.node), ("heddle-agent-x", "pu", "n1"));
        assert_eq!(ends, SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
        let mut one = claims;
        one["aud"] = "heddle-ca".into();
        assert!(read(&token(&one)).is_ok(), "one audience may be a text");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_refused_and_never_a_panic(text in ".{0,200}", claims in "\\PC{0,200}") {
            prop_assert!(read(&text).is_err());
            let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(&claims));
            prop_assert!(read(&token).is_err());
        }
    }
}
