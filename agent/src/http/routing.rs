//! Which rule a request meets, and what follows from it: an answer, or a route to a cluster.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use heddle_core::resolve::{Destination, resolve};
use heddle_core::route::cors::CorsDecision;
use heddle_core::route::model::{Abort, Mirror};
use heddle_core::route::rule::Choice;
use heddle_core::route::{
    Action, Client, CompiledBackend, CompiledRedirect, CompiledRule, Decision, RequestHead,
};
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::{Endpoint, RetryPolicy, Transport};
use heddle_core::workload::LocalWorkload;
use http::header::LOCATION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::exchange::Exchange;
use super::local::Local;
use super::record::Flags;
use super::request::Asked;
use super::stage::Stage;
use super::upstream::Upstream;
use crate::traffic::network::PodNetwork;

/// What becomes of a request.
#[derive(Debug)]
pub enum Plan {
    /// Answered here.
    Answer(Box<Local>),
    /// Sent on.
    Forward(Box<Route>),
}

/// Where a request goes, and how.
#[derive(Debug)]
pub struct Route {
    /// The cluster.
    pub upstream: Rc<Upstream>,
    /// The rule, and which of its backends.
    pub rule: Option<(Arc<CompiledRule>, usize)>,
    /// To be sent on.
    pub path: PathAndQuery,
    /// To be sent on, where a rule changes it.
    pub authority: Option<HeaderValue>,
    /// When it is sent again.
    pub retry: Rc<RetryPolicy>,
    /// Until the whole response has come.
    pub timeout: Option<Duration>,
    /// Before it is sent.
    pub delay: Option<Duration>,
    /// What the client is answered instead, after the delay.
    pub abort: Option<Abort>,
    /// Set in the answer.
    pub cors: Option<HeaderMap>,
    /// Set in the answer: what the next request of this client is spread by.
    pub set_cookie: Option<HeaderValue>,
    /// Copies, with their clusters.
    pub mirrors: Vec<Rc<Upstream>>,
}

/// Finds the rule, and acts on it as far as no upstream is needed.
///
/// # Errors
/// The answer where there is nowhere to go.
pub fn plan<N: PodNetwork>(
    stage: &Stage<N>,
    exchange: &Exchange,
    asked: &Asked,
    snapshot: &Snapshot,
    local: &LocalWorkload,
) -> Result<Plan, Box<Local>> {
    let authority =
        asked.authority.to_str().map_err(|_bytes| Local::bad_request("http1.invalid_host_header"))?;
    let port = stage.dialled.0.port();
    let client = Client { namespace: local.identity.namespace(), labels: &local.labels };
    let head = RequestHead {
        method: &asked.parts.method,
        scheme: "http",
        authority,
        path: &asked.path,
        headers: &asked.parts.headers,
        port,
    };
    let host = snapshot.routes().virtual_host(&client, authority, port, stage.service.as_deref());
    let Some(host) = host else {
        return Ok(Plan::Forward(Box::new(as_dialled(stage, exchange, asked, snapshot, local)?)));
    };
    match host.decide(&client, &head) {
        Decision::Rule(matched) => {
            by_rule(stage, exchange, asked, (snapshot, local), &head, (matched.rule, matched.by))
        }
        Decision::NotFound => Err(Box::new(Local::not_found())),
        Decision::Default => match host.service() {
            Some(service) => {
                let upstream = stage.clusters.get(snapshot, local, (&service.hostname, port, None));
                Ok(Plan::Forward(Box::new(default(stage, exchange, asked, snapshot, upstream))))
            }
            // By a ServiceEntry without virtual addresses: its endpoints, its DestinationRules.
            None if host.is_registered() => {
                let upstream = stage.clusters.get(snapshot, local, (host.name(), port, None));
                Ok(Plan::Forward(Box::new(default(stage, exchange, asked, snapshot, upstream))))
            }
            None => Ok(Plan::Forward(Box::new(as_dialled(stage, exchange, asked, snapshot, local)?))),
        },
    }
}

fn by_rule<N: PodNetwork>(
    stage: &Stage<N>,
    exchange: &Exchange,
    asked: &Asked,
    (snapshot, local): (&Snapshot, &LocalWorkload),
    head: &RequestHead<'_>,
    (rule, by): (&Arc<CompiledRule>, usize),
) -> Result<Plan, Box<Local>> {
    exchange.record().route = Some(rule.route_name(by).clone());
    let mut cors = None;
    match rule.cors.as_ref().map(|cors| cors.decide(head)) {
        None | Some(CorsDecision::Pass) => {}
        Some(CorsDecision::Answer(status, headers)) => {
            let answer = Local::new(status, Flags::default(), "cors_response", "");
            return Ok(Plan::Answer(Box::new(Local { headers, ..answer })));
        }
        Some(CorsDecision::Decorate(headers)) => cors = Some(headers),
    }
    let forward = match &rule.action {
        Action::Forward(forward) => forward,
        Action::Redirect(redirect) => {
            return redirected(rule, redirect, (head, by), None);
        }
        Action::Respond { status, body } => {
            let mut answer = Local::new(*status, Flags::default(), "direct_response", "");
            answer.body = body.clone();
            rule.change_response(&mut answer.headers, None);
            return Ok(Plan::Answer(Box::new(answer)));
        }
        Action::Broken(why) => {
            let broken =
                Local::new(StatusCode::INTERNAL_SERVER_ERROR, Flags::default(), "direct_response", "");
            return Err(Box::new(Local { body: Bytes::copy_from_slice(why.as_bytes()), ..broken }));
        }
    };
    let (host, backend) = match forward.choose(stage.worker.random()) {
        Choice::Backend(host, backend) => (host, backend),
        Choice::Redirect(redirect, backend) => return redirected(rule, redirect, (head, by), Some(backend)),
        Choice::Refused(status, why) => {
            let refused = Local::new(status, Flags::default(), "direct_response", "");
            return Err(Box::new(Local { body: Bytes::copy_from_slice(why.as_bytes()), ..refused }));
        }
    };
    let at = forward.backends().iter().position(|each| std::ptr::eq(each, backend)).unwrap_or(0);
    let upstream = |host: &heddle_core::route::model::HostRef| {
        let only = || only_port(snapshot, &host.host, local.identity.namespace());
        let port = host.port.unwrap_or_else(|| host.port_or(only(), head.port));
        stage.clusters.get(snapshot, local, (&host.host, port, host.subset.as_deref()))
    };
    let mirrored = |mirror: &&Mirror| mirror.share.hits(stage.worker.random());
    let mirrors = rule.mirrors(Some(backend)).filter(mirrored).filter_map(|mirror| match &mirror.to {
        heddle_core::route::model::BackendRef::Host(host) => Some(upstream(host)),
        heddle_core::route::model::BackendRef::Invalid(_) => None,
    });
    let rewritten = rule.rewrite_path(head, by, Some(backend));
    let authority = rule.rewrite_authority(Some(backend)).and_then(|text| HeaderValue::from_str(text).ok());
    Ok(Plan::Forward(Box::new(Route {
        mirrors: mirrors.collect(),
        upstream: upstream(host),
        path: rewritten.unwrap_or_else(|| asked.path.path_and_query().clone()),
        authority,
        retry: stage.worker.http.retry_policy(Some(&rule.retries), snapshot),
        timeout: rule.timeout.filter(|timeout| !timeout.is_zero()),
        delay: rule.delay(stage.worker.random()),
        abort: rule.abort(stage.worker.random()),
        cors,
        set_cookie: None,
        rule: Some((rule.clone(), at)),
    })))
}

/// The answer that names another place.
fn redirected(
    rule: &CompiledRule,
    redirect: &CompiledRedirect,
    (head, by): (&RequestHead<'_>, usize),
    backend: Option<&CompiledBackend>,
) -> Result<Plan, Box<Local>> {
    let mut answer = Local::new(redirect.status(), Flags::default(), "direct_response", "");
    let location = HeaderValue::from_str(&rule.location(redirect, head, by));
    let location = location.map_err(|_invalid| Local::bad_request("direct_response"))?;
    answer.headers.insert(LOCATION, location);
    rule.change_response(&mut answer.headers, backend);
    Ok(Plan::Answer(Box::new(answer)))
}

/// The one port of a host, if it has one only.
fn only_port(snapshot: &Snapshot, host: &str, namespace: &str) -> Option<u16> {
    let service = snapshot.service_named(host, namespace)?;
    match &*service.ports {
        [only] => Some(only.service_port),
        _ => None,
    }
}

fn default<N: PodNetwork>(
    stage: &Stage<N>,
    exchange: &Exchange,
    asked: &Asked,
    snapshot: &Snapshot,
    upstream: Rc<Upstream>,
) -> Route {
    exchange.record().route = Some(stage.worker.http.default_route());
    Route {
        upstream,
        rule: None,
        path: asked.path.path_and_query().clone(),
        authority: None,
        retry: stage.worker.http.retry_policy(None, snapshot),
        timeout: None,
        delay: None,
        abort: None,
        cors: None,
        set_cookie: None,
        mirrors: Vec::new(),
    }
}

/// Where the connection itself was going: no rule and no service has a say.
fn as_dialled<N: PodNetwork>(
    stage: &Stage<N>,
    exchange: &Exchange,
    asked: &Asked,
    snapshot: &Snapshot,
    local: &LocalWorkload,
) -> Result<Route, Box<Local>> {
    if let Some(service) = &stage.service {
        let upstream = stage.clusters.get(snapshot, local, (&service.hostname, stage.dialled.0.port(), None));
        return Ok(default(stage, exchange, asked, snapshot, upstream));
    }
    let (ip, port) = (stage.dialled.0.ip(), stage.dialled.0.port());
    let resolved = resolve(snapshot, stage.dialled, 0);
    let known = matches!(resolved, Destination::Workload { .. });
    let listed = || snapshot.destinations().listed(local.identity.namespace(), ip, port);
    if let Some(listed) = (!known).then(listed).flatten() {
        let upstream = stage.clusters.get(snapshot, local, (listed.host, port, None));
        return Ok(default(stage, exchange, asked, snapshot, upstream));
    }
    let endpoint = match resolved {
        Destination::Workload { workload, address, tunnel, .. } => {
            let transport = if tunnel { Transport::Tunnel } else { Transport::Plain };
            let locality = workload.locality.clone();
            Endpoint { workload: Some(workload), ..outside(address, transport, locality) }
        }
        Destination::Passthrough(address) => outside(address, Transport::Plain, <[Arc<str>; 3]>::default()),
        Destination::Unknown | Destination::Refused(_) => {
            exchange.record().cluster = Some(stage.worker.http.black_hole());
            return Err(Box::new(Local::new(StatusCode::BAD_GATEWAY, Flags::NR, "direct_response", "")));
        }
    };
    let name = || match endpoint.workload {
        Some(_) => format!("outbound|{}||{}", endpoint.address.port(), endpoint.address.ip()).into(),
        None => stage.worker.http.passthrough(),
    };
    let upstream = stage.clusters.direct(snapshot, local, name, &endpoint);
    Ok(default(stage, exchange, asked, snapshot, upstream))
}

fn outside(address: SocketAddr, transport: Transport, locality: [Arc<str>; 3]) -> Endpoint {
    let listed = std::collections::BTreeMap::new();
    Endpoint { workload: None, address, transport, weight: 1, priority: 0, locality, listed }
}

/// Set by CORS; what the upstream said of it goes.
pub fn decorate(headers: &mut HeaderMap, cors: HeaderMap) {
    let said: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
    for name in said {
        headers.remove(name);
    }
    headers.extend(cors);
}
