//! Cross-origin requests: what is answered, and what is added to answers.

use http::{HeaderMap, StatusCode};

use super::model::Cors;
use super::request::RequestHead;

/// A policy, parsed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledCors {
    pub(super) model: Cors,
}

/// What becomes of a request under a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsDecision {
    /// It is no business of the policy: sent on, the answer unchanged.
    Pass,
    /// A preflight: answered at once with this.
    Answer(StatusCode, HeaderMap),
    /// Sent on; these are set in the answer, and whatever else the upstream says of CORS is taken away.
    Decorate(HeaderMap),
}

impl CompiledCors {
    /// Judges a request.
    pub fn decide(&self, head: &RequestHead<'_>) -> CorsDecision {
        let _ = (head, &self.model);
        CorsDecision::Pass
    }
}
