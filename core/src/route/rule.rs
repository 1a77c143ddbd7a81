//! One rule, ready for use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};

use super::cors::CompiledCors;
use super::headers::HeaderOps;
use super::model::{BackendRef, Fault, HostRef, HttpMatch, Mirror, Retries, Rewrite};
use super::redirect::CompiledRedirect;
use super::request::RequestHead;
use crate::object::ObjectRef;

/// One rule of one object, or of two where one delegates to the other.
#[derive(Clone, Debug)]
pub struct CompiledRule {
    /// The object that the rule stands in.
    pub source: ObjectRef,
    /// The VirtualService that delegates to it.
    pub root: Option<ObjectRef>,
    /// Its place in the object, from 0.
    pub index: usize,
    /// Its name: what the access log shows; `default` where it has none.
    pub name: Arc<str>,
    /// Its matches; none: every request.
    pub matches: Box<[HttpMatch]>,
    /// What is done.
    pub action: Action,
    /// Of the request, before it is sent on.
    pub rewrite: Option<Rewrite>,
    /// Until the whole response has arrived.
    pub timeout: Option<Duration>,
    /// In force: the rule's own, completed from the mesh's; 0 attempts: none.
    pub retries: Arc<Retries>,
    /// Faults to inject.
    pub fault: Option<Fault>,
    /// Copies to send.
    pub mirrors: Box<[Mirror]>,
    /// Cross-origin requests.
    pub cors: Option<CompiledCors>,
    /// Changes of the request's headers.
    pub request_headers: HeaderOps,
    /// Changes of the response's headers.
    pub response_headers: HeaderOps,
}

/// What a rule does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends the request on.
    Forward(Forward),
    /// Answers with another place.
    Redirect(CompiledRedirect),
    /// Answers at once.
    Respond {
        /// 200 to 599.
        status: StatusCode,
        /// The body.
        body: Bytes,
    },
    /// The rule cannot be trusted with requests (an unparsable expression, a filter nobody knows): 500, and why.
    Broken(Arc<str>),
}

/// Weighted backends.
#[derive(Clone, Debug)]
pub struct Forward {
    backends: Box<[CompiledBackend]>,
    /// Sum of the weights.
    total: u64,
    /// What is answered where there is no backend, or the weights sum to 0.
    nobody: StatusCode,
}

/// One place that requests go to.
#[derive(Clone, Debug)]
pub struct CompiledBackend {
    /// Where; an invalid one is answered 500.
    pub to: BackendRef,
    /// Its share.
    pub weight: u32,
    /// Changes of the request's headers, after those of the rule.
    pub request_headers: HeaderOps,
    /// Changes of the response's headers, before those of the rule.
    pub response_headers: HeaderOps,
    /// Instead of the rule's.
    pub rewrite: Option<Rewrite>,
    /// Beside the rule's.
    pub mirrors: Box<[Mirror]>,
}

/// Where one request goes.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// To this host, with the changes of this backend.
    Backend(&'a HostRef, &'a CompiledBackend),
    /// Nowhere: answered with this status, and why.
    Refused(StatusCode, &'a str),
}

impl Forward {
    /// All backends, in the order of the object.
    pub fn backends(&self) -> &[CompiledBackend] {
        &self.backends
    }

    /// The backend of a random number; the same number chooses the same one.
    pub fn choose(&self, random: u64) -> Choice<'_> {
        if self.total == 0 {
            return Choice::Refused(self.nobody, "the rule has no backend with a weight above 0");
        }
        let mut left = random % self.total;
        for backend in &self.backends {
            let weight = u64::from(backend.weight);
            if left < weight {
                return match &backend.to {
                    BackendRef::Host(host) => Choice::Backend(host, backend),
                    BackendRef::Invalid(why) => Choice::Refused(StatusCode::INTERNAL_SERVER_ERROR, why),
                };
            }
            left -= weight;
        }
        Choice::Refused(self.nobody, "the rule has no backend")
    }
}

impl CompiledRule {
    /// What is sent on instead of the request's path and query; `None`: nothing changes. `by` is that of the decision.
    pub fn rewrite_path(
        &self,
        head: &RequestHead<'_>,
        by: usize,
        backend: Option<&CompiledBackend>,
    ) -> Option<PathAndQuery> {
        let _ = (head, by, backend);
        None
    }

    /// The authority to be sent on, where rule or backend change it.
    pub fn rewrite_authority<'a>(&'a self, backend: Option<&'a CompiledBackend>) -> Option<&'a str> {
        let backend_says = backend.and_then(|backend| {
            backend.request_headers.authority().or(backend.rewrite.as_ref()?.authority.as_deref())
        });
        let rule_says = || self.request_headers.authority().or(self.rewrite.as_ref()?.authority.as_deref());
        backend_says.or_else(rule_says)
    }

    /// Changes the request's headers: the rule's changes, then the backend's.
    pub fn change_request(&self, headers: &mut HeaderMap, backend: Option<&CompiledBackend>) {
        self.request_headers.apply(headers);
        if let Some(backend) = backend {
            backend.request_headers.apply(headers);
        }
    }

    /// Changes the response's headers: the backend's changes, then the rule's.
    pub fn change_response(&self, headers: &mut HeaderMap, backend: Option<&CompiledBackend>) {
        if let Some(backend) = backend {
            backend.response_headers.apply(headers);
        }
        self.response_headers.apply(headers);
    }
}

impl HostRef {
    /// The port of the cluster: as written, else the only one that the host has, else the one that was dialled.
    pub fn port_or(&self, only: Option<u16>, dialled: u16) -> u16 {
        self.port.or(only).unwrap_or(dialled)
    }
}
