//! Sends a request on: try, wait, try elsewhere, within its deadlines and its cluster's budgets.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Instant;

use heddle_core::route::model::Abort;
use heddle_core::upstream::model::Algorithm;
use heddle_core::upstream::{Attempted, BudgetGuard, PickContext, Seen};
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::{Sleep, sleep, timeout};

use super::attempt::{self, Answered, Missed, Outgoing, Try, overflow};
use super::bodies::Bodies;
use super::body::Body;
use super::exchange::{Exchange, Keep, Receiving};
use super::hashing;
use super::head::{self, ATTEMPT_COUNT, EXPECTED_TIMEOUT, FORWARDED_PROTO, REQUEST_ID, SERVICE_TIME};
use super::local::Local;
use super::record::Flags;
use super::request::Asked;
use super::routing::{self, Route};
use super::server::UnderWay;
use super::stage::Stage;
use super::upgrade::{self, Crossing};
use super::upstream::Lease;
use crate::traffic::network::PodNetwork;

/// Until the whole response has come.
type Deadline = Option<Pin<Box<Sleep>>>;

/// Sends a request to where its route leads.
///
/// # Errors
/// What is answered instead.
pub async fn send<N: PodNetwork>(
    stage: &Rc<Stage<N>>,
    exchange: &Rc<Exchange>,
    mut asked: Asked,
    mut route: Route,
    incoming: Incoming,
) -> Result<Response<Body>, Box<Local>> {
    exchange.record().cluster = Some(route.upstream.cluster().name.clone());
    inject(exchange, &route).await?;
    let state = route.upstream.state();
    let Some(request_budget) = state.budget.try_request(Instant::now()) else { return Err(overflow().local) };
    if stage.clusters.resolved(&route.upstream).await {
        let snapshot = stage.worker.snapshot();
        if let Some(local) = stage.worker.rules.of(&stage.pod.uid, &snapshot) {
            stage.clusters.refresh(&route.upstream, &snapshot, &local);
        }
    }
    let cluster = route.upstream.cluster();
    let (client, random) = (stage.client.ip(), stage.worker.random_bits());
    let (hash, cookie) = hashing::hash(&cluster, &asked.parts.headers, asked.path.query(), client, random);
    route.set_cookie = cookie;
    drop(cluster);
    // Envoy: the client itself may ask for another deadline, and the upstream is not told.
    if let Some(asked) = head::take_timeout(&mut asked.parts.headers) {
        route.timeout = Some(asked).filter(|timeout| !timeout.is_zero());
    }
    let outgoing = outgoing(stage, exchange, asked, &route);
    let bodies = Bodies::new(stage, exchange, incoming, &route, &outgoing);
    let mut deadline: Deadline = route.timeout.map(|timeout| Box::pin(sleep(timeout)));
    let answered = {
        let trying = pin!(tries(stage, exchange, (&route, hash), &outgoing, &bodies));
        match &mut deadline {
            None => trying.await,
            Some(deadline) => tokio::select! {
                biased;
                answered = trying => answered,
                () = deadline => Err(Box::new(Local::new(
                    StatusCode::GATEWAY_TIMEOUT, Flags::UT, "response_timeout", "upstream request timeout",
                ))),
            },
        }
    }?;
    bodies.settle();
    Ok(respond(stage, exchange, &mut route, outgoing, answered, (deadline, request_budget)))
}

/// Faults: the delay first, then the abort, as Envoy's filter has them.
async fn inject(exchange: &Exchange, route: &Route) -> Result<(), Box<Local>> {
    if let Some(delay) = route.delay {
        exchange.flag(Flags::DI);
        sleep(delay).await;
    }
    let Some(abort) = route.abort else { return Ok(()) };
    let local = |status| Local::new(status, Flags::FI, "fault_filter_abort", "fault filter abort");
    Err(Box::new(match abort {
        Abort::Http(status) => local(StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)),
        Abort::Grpc(status) => Local { grpc: Some(status), ..local(StatusCode::OK) },
    }))
}

fn outgoing<N: PodNetwork>(stage: &Stage<N>, exchange: &Exchange, asked: Asked, route: &Route) -> Outgoing {
    let Asked { parts, authority, upgrade, on_upgrade, .. } = asked;
    let mut headers = parts.headers;
    if !headers.contains_key(REQUEST_ID) {
        let id = head::request_id(stage.worker.random_bits(), stage.worker.random_bits());
        if stage.worker.telemetry.logs() {
            exchange.record().request_id = Some(id.clone());
        }
        headers.insert(REQUEST_ID, id);
    }
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if let Some(timeout) = route.timeout {
        let least = route.retry.per_try_timeout.map_or(timeout, |each| each.min(timeout));
        let millis = u64::try_from(least.as_millis()).unwrap_or(u64::MAX);
        headers.insert(EXPECTED_TIMEOUT, HeaderValue::from(millis));
    }
    if let Some((rule, at)) = &route.rule {
        rule.change_request(&mut headers, backend(rule, *at));
    }
    // Here, so that the copies that tries get have it in its place.
    headers.insert(ATTEMPT_COUNT, head::attempt_count(1));
    stage.worker.telemetry.capture_request(&mut exchange.record(), &headers);
    Outgoing {
        method: parts.method,
        authority: route.authority.clone().unwrap_or(authority),
        path: route.path.clone(),
        grpc: exchange.record().grpc,
        version: parts.version,
        headers,
        upgrade,
        on_upgrade,
    }
}

fn backend(
    rule: &heddle_core::route::CompiledRule,
    at: usize,
) -> Option<&heddle_core::route::CompiledBackend> {
    match &rule.action {
        heddle_core::route::Action::Forward(forward) => forward.backends().get(at),
        _ => None,
    }
}

/// Tries until there is an answer to be given.
async fn tries<N: PodNetwork>(
    stage: &Rc<Stage<N>>,
    exchange: &Rc<Exchange>,
    (route, hash): (&Route, Option<u64>),
    outgoing: &Outgoing,
    bodies: &Bodies,
) -> Result<Answered, Box<Local>> {
    let (mut tried, mut left): (Vec<SocketAddr>, Vec<u32>) = Default::default();
    let avoids = route.retry.avoids_tried(stays_by_hash(route));
    let mut retrying: Option<BudgetGuard> = None;
    let mut retried = 0;
    loop {
        let mut last = None;
        let attempt = Try { stage, exchange, upstream: &route.upstream, number: retried + 1 };
        let context = PickContext {
            hash,
            random: stage.worker.random(),
            now: Instant::now(),
            tried: if avoids { &tried } else { &[] },
            left: if route.retry.remote_localities { &left } else { &[] },
            dialled: Some(stage.dialled.0),
        };
        let outcome = match attempt.pick(&context) {
            Ok(picked) => {
                let (host, chosen) = (picked.host.clone(), picked.endpoint.clone());
                let sending = pin!(attempt.send(picked, outgoing, bodies.next()));
                let outcome = match route.retry.per_try_timeout.filter(|limit| !limit.is_zero()) {
                    None => sending.await,
                    Some(limit) => match timeout(limit, sending).await {
                        Ok(outcome) => outcome,
                        Err(_elapsed) => {
                            route.upstream.state().health.report(&host, Seen::Timeout, Instant::now());
                            Err(too_late())
                        }
                    },
                };
                last = Some(chosen);
                outcome
            }
            Err(missed) => Err(missed),
        };
        drop(retrying.take());
        let Some(again) = verdict(&outcome) else { return settle(exchange, outcome) };
        let should = |retried| match attempt::is_idempotent(&outgoing.method) {
            true => route.retry.should_retry_idempotent(&again, retried),
            false => route.retry.should_retry(&again, retried),
        };
        if !should(retried) || !bodies.can_repeat() {
            if route.retry.attempts > 0 && retried >= route.retry.attempts && should(0) {
                exchange.flag(Flags::URX);
            }
            return settle(exchange, outcome);
        }
        retrying = route.upstream.state().budget.try_retry(Instant::now());
        if retrying.is_none() {
            exchange.flag(Flags::UO);
            return settle(exchange, outcome);
        }
        drop(outcome);
        if let Some(last) = last {
            tried.push(last.address);
            left.push(last.priority);
        }
        retried += 1;
        sleep(route.retry.backoff(retried, stage.worker.random())).await;
    }
}

/// Whether the one destination of a rule spreads requests by a hash.
fn stays_by_hash(route: &Route) -> bool {
    let several = route.rule.as_ref().is_some_and(|(rule, _)| match &rule.action {
        heddle_core::route::Action::Forward(forward) => forward.backends().len() > 1,
        _ => false,
    });
    !several && matches!(route.upstream.cluster().algorithm(), Algorithm::ConsistentHash { .. })
}

/// What the retry policy is asked about; `None`: a try that ends it all.
fn verdict(outcome: &Result<Answered, Missed>) -> Option<Attempted> {
    match outcome {
        Ok(answered) => Some(Attempted::Response {
            status: answered.response.status().as_u16(),
            grpc_status: head::grpc_status(answered.response.headers()),
            ratelimited: answered.response.headers().contains_key("x-envoy-ratelimited"),
        }),
        Err(missed) => missed.attempted,
    }
}

fn settle(exchange: &Exchange, outcome: Result<Answered, Missed>) -> Result<Answered, Box<Local>> {
    outcome.map_err(|missed| {
        exchange.record().upstream_failure = missed.reason;
        missed.local
    })
}

fn too_late() -> Missed {
    let local = Local::new(
        StatusCode::GATEWAY_TIMEOUT,
        Flags::UT,
        "upstream_per_try_timeout",
        "upstream request timeout",
    );
    Missed { attempted: Some(Attempted::PerTryTimeout), local: Box::new(local), reason: None }
}

/// What lives until the response has ended.
struct Kept {
    lease: Option<Lease>,
    exchange: Rc<Exchange>,
    _budget: BudgetGuard,
    _active: heddle_core::upstream::ActiveRequest,
    _under_way: UnderWay,
}

impl Keep for Kept {
    fn end(mut self, complete: bool) {
        if complete
            && self.exchange.sent_all.get()
            && let Some(lease) = self.lease.take()
        {
            lease.release();
        }
    }
}

fn respond<N: PodNetwork>(
    stage: &Rc<Stage<N>>,
    exchange: &Rc<Exchange>,
    route: &mut Route,
    outgoing: Outgoing,
    answered: Answered,
    (deadline, budget): (Deadline, BudgetGuard),
) -> Response<Body> {
    let Answered { response, lease, active, took } = answered;
    let (mut parts, incoming) = response.into_parts();
    let status = parts.status;
    let mut record = exchange.record();
    record.code = status.as_u16();
    record.details = "via_upstream";
    record.upstream_time = Some(took);
    record.grpc_status = head::grpc_status(&parts.headers);
    drop(record);
    let switched = switches(&outgoing, status);
    let protocol = parts.headers.get(http::header::UPGRADE).cloned();
    head::strip_hop(&mut parts.headers);
    parts.extensions.clear();
    parts.headers.insert(SERVICE_TIME, head::millis(took));
    if let Some((rule, at)) = &route.rule {
        rule.change_response(&mut parts.headers, backend(rule, *at));
    }
    if let Some(cookie) = route.set_cookie.take() {
        parts.headers.append(http::header::SET_COOKIE, cookie);
    }
    if let Some(cors) = route.cors.take() {
        routing::decorate(&mut parts.headers, cors);
    }
    stage.worker.telemetry.capture_response(&mut exchange.record(), &parts.headers);
    if switched && let Some(wire) = exchange.take_switch() {
        if let Some(protocol) = protocol.filter(|_| status == StatusCode::SWITCHING_PROTOCOLS) {
            parts.headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(http::header::UPGRADE, protocol);
        }
        let kept = Box::new((lease, budget, active, stage.activity.begin()));
        let crossing = Crossing { wire, kept, exchange: exchange.clone() };
        match outgoing.on_upgrade {
            None => *stage.crossing.borrow_mut() = Some(crossing),
            Some(on_upgrade) => {
                parts.status = StatusCode::OK;
                parts.headers.remove(http::header::UPGRADE);
                parts.headers.remove(http::header::CONNECTION);
                parts.headers.remove("sec-websocket-accept");
                stage.worker.tasks.spawn_local(cross_stream(on_upgrade, crossing));
            }
        }
        return Response::from_parts(parts, Body::empty());
    }
    let kept = Kept {
        lease: Some(lease),
        exchange: exchange.clone(),
        _budget: budget,
        _active: active,
        _under_way: stage.activity.begin(),
    };
    let watch = Receiving::new(exchange.clone(), kept, deadline);
    Response::from_parts(parts, Body::incoming(incoming).watched(Box::new(watch)))
}

/// A stream of HTTP/2 that has become another protocol's.
async fn cross_stream(on_upgrade: OnUpgrade, crossing: Crossing) {
    let Ok(upgraded) = on_upgrade.await else { return };
    let mut near = TokioIo::new(upgraded);
    if let Err(failure) = upgrade::cross_with(&mut near, crossing).await {
        tracing::debug!(%failure, "an upgraded stream broke off");
    }
}

fn switches(outgoing: &Outgoing, status: StatusCode) -> bool {
    (outgoing.upgrade.is_some() && status == StatusCode::SWITCHING_PROTOCOLS)
        || (outgoing.method == Method::CONNECT && status.is_success())
}
