//! TokenReview: the question to the API server, and what its answer proves.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use kube::Client;
use kube::api::PostParams;
use kube::core::Request;

use super::Account;
use super::claims::{Bound, Denial};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// For one answer; an agent waits ten seconds for ours.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the API server did not answer. Nobody is let in meanwhile, and the agent asks again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Away {
    /// We may not ask.
    #[error("{0}")]
    Forbidden(String),
    /// It failed, is slow, or says something that is no review.
    #[error("{0}")]
    Failed(String),
}

/// Asks what a token is worth for these audiences.
pub(super) async fn ask(
    client: &Client,
    token: &str,
    audiences: &[String],
) -> Result<TokenReviewStatus, Away> {
    let failed = |error: &dyn std::fmt::Display| Away::Failed(error.to_string());
    let review = TokenReview {
        spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(audiences.to_vec()) },
        ..TokenReview::default()
    };
    let body = serde_json::to_vec(&review).map_err(|error| failed(&error))?;
    let request = Request::new(PATH).create(&PostParams::default(), body).map_err(|error| failed(&error))?;
    // As text: where kube cannot read an answer it logs it, and the answer repeats the token.
    let answer = tokio::time::timeout(PATIENCE, client.request_text(request)).await;
    let text = match answer {
        Ok(Ok(text)) => text,
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            return Err(Away::Forbidden(status.message.clone()));
        }
        Ok(Err(kube::Error::Api(status))) => {
            return Err(Away::Failed(format!("{} {}", status.code, status.reason)));
        }
        Ok(Err(error)) => return Err(failed(&error)),
        Err(_elapsed) => return Err(Away::Failed(format!("no answer within {PATIENCE:?}"))),
    };
    let review = serde_json::from_str::<TokenReview>(&text);
    let review = review.map_err(|_secret| Away::Failed("the answer is no TokenReview".to_owned()))?;
    review.status.ok_or_else(|| Away::Failed("the answer has no status".to_owned()))
}

/// Whom the API server vouches for: every part of it must be there, once.
pub(super) fn judge(
    status: &TokenReviewStatus,
    audiences: &[String],
    trusted: &[Account],
) -> Result<Bound, Denial> {
    let error = status.error.as_deref().unwrap_or_default();
    if status.authenticated != Some(true) || !error.is_empty() {
        return Err(Denial::Rejected);
    }
    // A server that does not know audiences answers none: then the token is one for the API server.
    let mut named = status.audiences.iter().flatten();
    if !named.any(|audience| audiences.contains(audience)) {
        return Err(Denial::Audience);
    }
    let user = status.user.as_ref().ok_or(Denial::Rejected)?;
    let account = user.username.as_deref().and_then(Account::of_username);
    let account = account.filter(|account| trusted.contains(account)).ok_or(Denial::Account)?;
    let extra = |key: &str| extra(user, key).ok_or(Denial::Unbound);
    Ok(Bound { account, pod: extra("pod-name")?, uid: extra("pod-uid")?, node: extra("node-name")? })
}

fn extra(user: &UserInfo, key: &str) -> Option<String> {
    let values = user.extra.as_ref()?.get(&format!("authentication.kubernetes.io/{key}"))?;
    match values.as_slice() {
        [one] if !one.is_empty() => Some(one.clone()),
        _ => None,
    }
}
