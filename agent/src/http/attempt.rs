//! One try: an endpoint, a connection to it, the request on it, the head of the answer.

use std::error::Error as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_core::upstream::model::Protocol;
use heddle_core::upstream::{
    ActiveRequest, Attempted, Cluster, ClusterState, Host, NoEndpoint, PickContext, Picked, Seen,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::body::Body;
use super::exchange::Exchange;
use super::head::{ATTEMPT_COUNT, MISSED, MISSED_CONNECT, attempt_count, grpc_status};
use super::local::Local;
use super::record::Flags;
use super::stage::Stage;
use super::upstream::bounds::{NoConnection, PoolBounds};
use super::upstream::cluster::idle_timeout;
use super::upstream::connect::{How, connect};
use super::upstream::connection::Sender;
use super::upstream::{Lease, Speak, Upstream};
use crate::telemetry::tcp::Party;
use crate::telemetry::{Failure, Reason};
use crate::traffic::network::PodNetwork;

/// A request as it leaves, but for its body.
#[derive(Debug)]
pub struct Outgoing {
    /// Its method.
    pub method: Method,
    /// `:authority` or `Host`.
    pub authority: HeaderValue,
    /// Path and query.
    pub path: http::uri::PathAndQuery,
    /// Everything else.
    pub headers: HeaderMap,
    /// The protocol that it asks to switch to.
    pub upgrade: Option<HeaderValue>,
    /// What the client speaks.
    pub version: Version,
    /// Whether it is gRPC.
    pub grpc: bool,
    /// Of HTTP/2: what becomes of the client's stream.
    pub on_upgrade: Option<OnUpgrade>,
}

/// A try that brought an answer.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub response: Response<Incoming>,
    /// The connection that brings it.
    pub lease: Lease,
    /// Who answered, counted as busy.
    pub active: ActiveRequest,
    /// From the first byte sent to the answer's head.
    pub took: Duration,
}

/// A try that did not.
#[derive(Debug)]
pub struct Missed {
    /// How, for the retry policy.
    pub attempted: Option<Attempted>,
    /// What is answered if it was the last.
    pub local: Box<Local>,
    /// Why, for the access log.
    pub reason: Option<Box<str>>,
}

/// What one try needs to know.
#[derive(Debug)]
pub struct Try<'a, N> {
    /// The connection that asks.
    pub stage: &'a Rc<Stage<N>>,
    /// The request.
    pub exchange: &'a Rc<Exchange>,
    /// Where it goes.
    pub upstream: &'a Rc<Upstream>,
    /// From 1.
    pub number: u32,
}

impl<N: PodNetwork> Try<'_, N> {
    /// Chooses an endpoint.
    ///
    /// # Errors
    /// There is none.
    pub fn pick(&self, context: &PickContext<'_>) -> Result<Picked, Missed> {
        let first = self.stage.opened.borrow().as_ref().map(|opened| opened.address);
        self.upstream.pick(context, first).map_err(|none| {
            let (flag, details, body) = match none {
                NoEndpoint::NoCluster => (Flags::NC, "cluster_not_found", ""),
                NoEndpoint::NoHealthy => (Flags::UH, "no_healthy_upstream", "no healthy upstream"),
            };
            Missed { attempted: None, local: Box::new(Local::unavailable(flag, details, body)), reason: None }
        })
    }

    /// Sends the request to it.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn send(&self, picked: Picked, outgoing: &Outgoing, body: Body) -> Result<Answered, Missed> {
        let cluster = self.upstream.cluster();
        let state = self.upstream.state();
        let speak = speaks(&cluster, outgoing);
        self.note(&cluster, &picked);
        let active = picked.host.enter();
        let leased = self.lease(&picked, &cluster, &state, speak).await;
        let mut lease = match leased {
            Ok(leased) => leased,
            Err(NoConnection::Overflow) => return Err(overflow()),
            Err(NoConnection::Failed(failure)) if failure.reason == Reason::TunnelDenied => {
                return Err(denied(failure));
            }
            Err(NoConnection::Failed(failure)) => {
                state.health.report(&picked.host, Seen::ConnectFailed, Instant::now());
                return Err(unconnected(failure));
            }
        };
        self.exchange.record().upstream_local = lease.local_addr();
        let request = outgoing.request(speak, self.number, body);
        let switch =
            (outgoing.upgrade.is_some() || outgoing.method == Method::CONNECT).then(|| lease.ask_wire());
        let begun = Instant::now();
        let sent = match lease.sender() {
            Some(Sender::Http1(sender)) => sender
                .try_send_request(request)
                .await
                .map_err(|mut failed| (failed.take_message().is_none(), failed.into_error())),
            Some(Sender::Http2(mut sender)) => sender
                .try_send_request(request)
                .await
                .map_err(|mut failed| (failed.take_message().is_none(), failed.into_error())),
            None => return Err(overflow()),
        };
        match sent {
            Ok(response) if let Some(missed) = missed_there(&picked, &response) => {
                state.health.report(&picked.host, Seen::ConnectFailed, Instant::now());
                Err(missed)
            }
            Ok(response) => {
                let answered = Answered { response, lease, active, took: begun.elapsed() };
                self.report(&state, &picked.host, &answered.response);
                if let Some(Some(wire)) = switch {
                    self.exchange.switch(wire);
                }
                Ok(answered)
            }
            // What broke off was the request's own body.
            Err((_, error)) if error.is_user() && self.framing_is_broken() => {
                let local = Box::new(Local::bad_request("http1.codec_error"));
                Err(Missed { attempted: None, local, reason: None })
            }
            Err((sent, error)) => {
                let missed = missed(&error, sent);
                if !matches!(
                    missed.attempted,
                    Some(Attempted::Reset { sent: false } | Attempted::RefusedStream)
                ) {
                    state.health.report(&picked.host, Seen::Reset, Instant::now());
                }
                Err(missed)
            }
        }
    }

    fn framing_is_broken(&self) -> bool {
        self.stage.framing.as_ref().is_some_and(|framing| framing.is_broken())
    }

    fn note(&self, cluster: &Cluster, picked: &Picked) {
        let mut record = self.exchange.record();
        record.attempts = self.number;
        record.cluster = Some(cluster.name.clone());
        record.upstream = Some(picked.endpoint.address);
        record.mutual_tls = picked.endpoint.transport.tunnels();
        if let Some(service) = &cluster.service {
            record.service = Some(service.clone());
        }
        record.destination = match &picked.endpoint.workload {
            Some(workload) => Party::Workload(workload.clone()),
            None => Party::Unknown,
        };
    }

    async fn lease(
        &self,
        picked: &Picked,
        cluster: &Cluster,
        state: &ClusterState,
        speak: Speak,
    ) -> Result<Lease, NoConnection> {
        let settings = cluster.policy.connection_pool.as_ref();
        let bounds = PoolBounds {
            budget: state.budget.clone(),
            requests: settings.and_then(|pool| pool.max_requests_per_connection).unwrap_or(0),
            age: settings.and_then(|pool| pool.max_connection_duration),
            idle: idle_timeout(settings),
            within: cluster.connect_timeout,
            streams: settings.and_then(|pool| pool.max_concurrent_streams),
        };
        let (within, host) = (cluster.connect_timeout, &cluster.key.host);
        let keepalive = settings.and_then(|pool| pool.keepalive);
        let pool = self.upstream.pool(&picked.endpoint, &picked.host);
        let tasks = &self.stage.worker.tasks;
        let opened = self.stage.opened.borrow_mut().take();
        match opened {
            Some(opened) if opened.serves(&picked.endpoint) => {
                pool.adopt(opened.wire, &bounds, tasks, speak).await;
            }
            // A rule sends the request elsewhere.
            Some(opened) => opened.close(tasks),
            None => {}
        }
        // The port of one client would be wrong for the next one on this connection.
        let client = std::net::SocketAddr::new(self.stage.client.ip(), 0);
        let (worker, pod) = (&self.stage.worker, &self.stage.pod);
        let endpoint = &picked.endpoint;
        pool.lease(speak, &bounds, tasks, || {
            let how = How { client, within, host: host.clone(), speak, keepalive };
            connect(worker.clone(), pod.clone(), endpoint.clone(), how)
        })
        .await
    }

    fn report(&self, state: &ClusterState, host: &Arc<Host>, response: &Response<Incoming>) {
        let status = response.status().as_u16();
        let seen = match grpc_status(response.headers()) {
            Some(grpc) => Seen::Grpc(status, grpc),
            None => Seen::Status(status),
        };
        state.health.report(host, seen, Instant::now());
    }
}

/// What is spoken to the endpoint: what the port declares, unless the policy says otherwise.
fn speaks(cluster: &Cluster, outgoing: &Outgoing) -> Speak {
    if outgoing.upgrade.is_some() || outgoing.method == Method::CONNECT {
        return Speak::Http1;
    }
    let client = if outgoing.version == Version::HTTP_2 { Speak::Http2 } else { Speak::Http1 };
    let settings = cluster.policy.connection_pool.as_ref();
    if settings.is_some_and(|pool| pool.use_client_protocol) {
        return client;
    }
    match (cluster.protocol, settings.and_then(|pool| pool.h2_upgrade)) {
        (Protocol::Http2 | Protocol::Grpc, _) | (_, Some(true)) => Speak::Http2,
        // gRPC has no other form: a port that says only "http" means it too.
        (Protocol::Http, _) if outgoing.grpc => client,
        (Protocol::Http, _) => Speak::Http1,
        _ => client,
    }
}

impl Outgoing {
    fn request(&self, speak: Speak, number: u32, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        if number > 1 {
            request.headers_mut().insert(ATTEMPT_COUNT, attempt_count(number));
        }
        match speak {
            Speak::Http1 => {
                *request.version_mut() = Version::HTTP_11;
                request.headers_mut().insert(http::header::HOST, self.authority.clone());
                *request.uri_mut() = match self.method {
                    Method::CONNECT => Uri::try_from(self.authority.as_bytes()).unwrap_or_default(),
                    _ => Uri::from(self.path.clone()),
                };
                if let Some(protocol) = &self.upgrade {
                    request
                        .headers_mut()
                        .insert(http::header::CONNECTION, HeaderValue::from_static("Upgrade"));
                    request.headers_mut().insert(http::header::UPGRADE, protocol.clone());
                }
            }
            Speak::Http2 => {
                *request.version_mut() = Version::HTTP_2;
                request.headers_mut().remove(http::header::HOST);
                let mut uri = http::uri::Parts::default();
                uri.authority = http::uri::Authority::try_from(self.authority.as_bytes()).ok();
                if self.method != Method::CONNECT {
                    uri.scheme = Some(http::uri::Scheme::HTTP);
                    uri.path_and_query = Some(self.path.clone());
                }
                *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
            }
        }
        request
    }
}

/// RFC 9110 section 9.2.2: to do it twice is to do it once.
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// The circuit breaker is open.
pub fn overflow() -> Missed {
    let mut local = Local::unavailable(
        Flags::UO,
        "upstream_reset_before_response_started{overflow}",
        "upstream connect error or disconnect/reset before headers. reset reason: overflow",
    );
    local.headers.insert("x-envoy-overloaded", HeaderValue::from_static("true"));
    Missed { attempted: None, local: Box::new(local), reason: None }
}

/// A policy of the destination's that judges connections; another endpoint would say the same.
fn denied(failure: Failure) -> Missed {
    let details = "rbac_access_denied";
    let local = Local::new(StatusCode::FORBIDDEN, Flags::default(), details, "RBAC: access denied");
    let reason = failure.detail.unwrap_or_else(|| failure.reason.name().into());
    Missed { attempted: None, local: Box::new(local), reason: Some(reason) }
}

fn unconnected(failure: Failure) -> Missed {
    let (details, body) = match failure.reason {
        Reason::ConnectTimeout | Reason::TunnelTimeout => (
            "upstream_reset_before_response_started{connection_timeout}",
            "upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
        ),
        _ => (
            "upstream_reset_before_response_started{remote_connection_failure}",
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
        ),
    };
    let local = Local::unavailable(Flags::UF, details, body);
    let reason = failure.detail.unwrap_or_else(|| failure.reason.name().into());
    Missed { attempted: Some(Attempted::ConnectFailed), local: Box::new(local), reason: Some(reason) }
}

/// Whether the destination's agent says that its application had no part in the answer.
fn missed_there(picked: &Picked, response: &Response<Incoming>) -> Option<Missed> {
    let how = response.headers().get(MISSED).filter(|_| picked.endpoint.transport.tunnels())?;
    if *how == MISSED_CONNECT {
        return Some(unconnected(Failure::new(Reason::TunnelRefused, &"the application did not take it")));
    }
    let ended = Local::unavailable(
        Flags::UC,
        "upstream_reset_before_response_started{connection_termination}",
        "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
    );
    let attempted = Some(Attempted::Reset { sent: true });
    Some(Missed { attempted, local: Box::new(ended), reason: None })
}

/// A request that broke off before anything of an answer had come.
fn missed(error: &hyper::Error, sent: bool) -> Missed {
    let cause = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    let refused = cause.is_some_and(|cause| {
        cause.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR))
    });
    let attempted = if refused { Attempted::RefusedStream } else { Attempted::Reset { sent } };
    let (flag, details, body) = if error.is_parse() || error.is_parse_too_large() {
        (
            Flags::UPE,
            "upstream_reset_before_response_started{protocol_error}",
            "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
        )
    } else if cause.is_some_and(h2::Error::is_reset) {
        (
            Flags::UR,
            "upstream_reset_before_response_started{remote_reset}",
            "upstream connect error or disconnect/reset before headers. reset reason: remote reset",
        )
    } else {
        (
            Flags::UC,
            "upstream_reset_before_response_started{connection_termination}",
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
        )
    };
    Missed {
        attempted: Some(attempted),
        local: Box::new(Local::unavailable(flag, details, body)),
        reason: Some(error.to_string().into()),
    }
}
