//! One rule, ready for use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};

use super::cors::CompiledCors;
use super::headers::HeaderOps;
use super::matching::{CompiledMatch, PathCondition};
use super::model::{Abort, BackendRef, Fault, HostRef, Mirror, Retries};
use super::redirect::CompiledRedirect;
use super::request::RequestHead;
use super::rewrite::CompiledRewrite;
use crate::object::ObjectRef;

/// Whose semantics a rule has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// VirtualService.
    Istio,
    /// HTTPRoute or GRPCRoute.
    Gateway,
}

/// One rule of one object, or of two where one delegates to the other.
#[derive(Clone, Debug)]
pub struct CompiledRule {
    /// The object that the rule stands in.
    pub source: ObjectRef,
    /// The VirtualService that delegates to it.
    pub root: Option<ObjectRef>,
    /// Its place in the object, from 0.
    pub index: usize,
    /// Its name; empty where it has none.
    pub name: Arc<str>,
    /// Whose semantics it has.
    pub family: Family,
    /// Its matches; at least one, which matches every request where none is written.
    pub matches: Box<[CompiledMatch]>,
    /// What is done.
    pub action: Action,
    /// Of the request, before it is sent on.
    pub rewrite: Option<CompiledRewrite>,
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
    /// Answers with another place: see [`CompiledRule::location`].
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
    /// Changes of the request's headers.
    pub request_headers: HeaderOps,
    /// Changes of the response's headers.
    pub response_headers: HeaderOps,
    /// Instead of the rule's.
    pub rewrite: Option<CompiledRewrite>,
    /// Beside the rule's.
    pub mirrors: Box<[Mirror]>,
    /// Answered instead of sent on.
    pub redirect: Option<CompiledRedirect>,
}

/// Where one request goes.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// To this host, with the changes of this backend.
    Backend(&'a HostRef, &'a CompiledBackend),
    /// Answered with another place: see [`CompiledRule::location`].
    Redirect(&'a CompiledRedirect, &'a CompiledBackend),
    /// Nowhere: answered with this status, and why.
    Refused(StatusCode, &'a str),
}

impl Forward {
    pub(super) fn new(backends: Box<[CompiledBackend]>, family: Family) -> Self {
        let total = backends.iter().map(|backend| u64::from(backend.weight)).sum();
        let nobody = match family {
            Family::Istio => StatusCode::SERVICE_UNAVAILABLE,
            Family::Gateway => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { backends, total, nobody }
    }

    /// All backends, in the order of the object.
    pub fn backends(&self) -> &[CompiledBackend] {
        &self.backends
    }

    /// The backend of a random number; the same number chooses the same one.
    pub fn choose(&self, random: u64) -> Choice<'_> {
        let Some(mut left) = random.checked_rem(self.total) else {
            return Choice::Refused(self.nobody, "the rule has no backend with a weight above 0");
        };
        for backend in &self.backends {
            let weight = u64::from(backend.weight);
            if left < weight {
                return match (&backend.to, &backend.redirect) {
                    (BackendRef::Invalid(why), _) => Choice::Refused(StatusCode::INTERNAL_SERVER_ERROR, why),
                    (BackendRef::Host(_), Some(redirect)) => Choice::Redirect(redirect, backend),
                    (BackendRef::Host(host), None) => Choice::Backend(host, backend),
                };
            }
            left -= weight;
        }
        Choice::Refused(self.nobody, "the rule has no backend")
    }
}

impl CompiledRule {
    /// Its name in the access log by way of one of its matches, as Istio has it: `rule`, or `rule.match`.
    pub fn route_name(&self, by: usize) -> &Arc<str> {
        self.matches.get(by).map_or(&self.name, |each| &each.route_name)
    }

    /// What is sent on instead of the request's path and query; `None`: nothing changes. `by` is that of the decision.
    pub fn rewrite_path(
        &self,
        head: &RequestHead<'_>,
        by: usize,
        backend: Option<&CompiledBackend>,
    ) -> Option<PathAndQuery> {
        let own =
            |rewrite: &'_ Option<CompiledRewrite>| rewrite.as_ref().is_some_and(|new| new.path.is_some());
        let backend = backend.map(|backend| &backend.rewrite).filter(|rewrite| own(rewrite));
        let rewrite = backend.unwrap_or(&self.rewrite).as_ref()?;
        rewrite.path.as_ref()?.apply(head.path, self.matched_path(by))
    }

    /// `Location` of a redirect; `by` is that of the decision.
    pub fn location(&self, redirect: &CompiledRedirect, head: &RequestHead<'_>, by: usize) -> String {
        redirect.location(head, self.matched_path(by))
    }

    fn matched_path(&self, by: usize) -> &PathCondition {
        self.matches.get(by).map_or(&PathCondition::Any, |each| &each.path)
    }

    /// The authority to be sent on, where rule or backend change it. Where both do, a VirtualService's rule counts.
    pub fn rewrite_authority<'a>(&'a self, backend: Option<&'a CompiledBackend>) -> Option<&'a str> {
        let says = |rewrite: &'a Option<CompiledRewrite>, headers: &'a HeaderOps| {
            rewrite.as_ref().and_then(|rewrite| rewrite.authority.as_deref()).or_else(|| headers.authority())
        };
        let rule = says(&self.rewrite, &self.request_headers);
        let backend = backend.and_then(|backend| says(&backend.rewrite, &backend.request_headers));
        match self.family {
            Family::Istio => rule.or(backend),
            Family::Gateway => backend.or(rule),
        }
    }

    /// Changes the request's headers, by rule and backend.
    pub fn change_request(&self, headers: &mut HeaderMap, backend: Option<&CompiledBackend>) {
        self.change(&self.request_headers, backend.map(|backend| &backend.request_headers), headers, true);
    }

    /// Changes the response's headers, by rule and backend.
    pub fn change_response(&self, headers: &mut HeaderMap, backend: Option<&CompiledBackend>) {
        self.change(&self.response_headers, backend.map(|backend| &backend.response_headers), headers, false);
    }

    fn change(&self, rule: &HeaderOps, backend: Option<&HeaderOps>, headers: &mut HeaderMap, request: bool) {
        let Some(backend) = backend.filter(|backend| !backend.is_empty()) else { return rule.apply(headers) };
        let several = matches!(&self.action, Action::Forward(forward) if forward.backends.len() > 1);
        match self.family {
            // Istio writes the changes of an only destination behind those of the rule; among several ones Envoy
            // applies those of the destination first.
            Family::Istio if !several => HeaderOps::apply_all(&[rule, backend], headers),
            Family::Gateway if request => [rule, backend].iter().for_each(|ops| ops.apply(headers)),
            Family::Istio | Family::Gateway => [backend, rule].iter().for_each(|ops| ops.apply(headers)),
        }
    }

    /// The pause to make before a request is sent on, by a random number of its own.
    pub fn delay(&self, random: u64) -> Option<Duration> {
        let (share, delay) = self.fault.as_ref()?.delay?;
        share.hits(random).then_some(delay)
    }

    /// The answer to give instead, by a random number of its own.
    pub fn abort(&self, random: u64) -> Option<Abort> {
        let (share, abort) = self.fault.as_ref()?.abort?;
        share.hits(random).then_some(abort)
    }

    /// Where copies of a request may go: those of the rule, and of its backend. Each has its share to be asked.
    pub fn mirrors<'a>(&'a self, backend: Option<&'a CompiledBackend>) -> impl Iterator<Item = &'a Mirror> {
        self.mirrors.iter().chain(backend.into_iter().flat_map(|backend| &backend.mirrors))
    }
}

impl HostRef {
    /// The port of the cluster: as written, else the only one that the host has, else the one that was dialled.
    pub fn port_or(&self, only: Option<u16>, dialled: u16) -> u16 {
        self.port.or(only).unwrap_or(dialled)
    }
}
