//! Redirects: the answer that names another place.

use http::StatusCode;

use super::model::Redirect;
use super::request::RequestHead;

/// A redirect, parsed once.
#[derive(Clone, Debug, PartialEq)]
pub struct CompiledRedirect {
    pub(super) model: Redirect,
    pub(super) status: StatusCode,
}

impl CompiledRedirect {
    /// 301, 302, 303, 307 or 308.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// `Location`.
    pub fn location(&self, head: &RequestHead<'_>) -> String {
        let scheme = self.model.scheme.as_deref().unwrap_or(head.scheme);
        let authority = self.model.authority.as_deref().unwrap_or(head.authority);
        format!("{scheme}://{authority}{}", head.path.path_and_query())
    }
}
