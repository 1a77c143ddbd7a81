//! Sends a permitted request to the application, written anew from its judged form.

use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use heddle_core::authorize::{Peer, Permit, authorize_request};
use heddle_core::identity::Identity;
use heddle_core::policy::RequestFacts;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::oneshot;

use super::Requests;
use super::handle::Target;
use super::refusal::Refusal;
use crate::http::exchange::{Exchange, Sending};
use crate::http::{Body, Wire, head};
use crate::telemetry::{Failure, Reason};
use crate::traffic::dial;
use crate::traffic::network::PodNetwork;
use crate::traffic::socket::Socket;

/// `x-forwarded-client-cert`.
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// What is sent.
pub(super) struct Sent {
    pub(super) parts: Parts,
    pub(super) body: Incoming,
    /// The protocol that an HTTP/1 request asks to switch to.
    pub(super) upgrade: Option<HeaderValue>,
    /// The client's stream, where a CONNECT over HTTP/2 becomes one of bytes.
    pub(super) crossing: Option<OnUpgrade>,
    pub(super) exchange: Rc<Exchange>,
}

/// The application's answer.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// The answer switches protocols; this gives its wire.
    pub(super) back: Option<oneshot::Receiver<(Wire, Bytes)>>,
    /// It is the beginning of bytes on a stream of HTTP/2, which have begun to pass.
    pub(super) crossed: bool,
}

/// Sends a request and waits for the head of its answer.
pub(super) async fn send<N: PodNetwork>(
    connection: &Requests<N>,
    target: &Target,
    permit: Permit,
    sent: Sent,
) -> Result<Answer, Refusal> {
    let Sent { parts, body, upgrade, crossing, exchange } = sent;
    let two = parts.version == Version::HTTP_2;
    let mut request = Request::new(Body::incoming(body).watched(Box::new(Sending(exchange.clone()))));
    *request.method_mut() = target.method.clone();
    *request.headers_mut() = headers(connection, target, parts.headers, upgrade.as_ref());
    if let Some(protocol) = parts.extensions.get::<hyper::ext::Protocol>() {
        request.extensions_mut().insert(protocol.clone());
    }
    let bad = |_invalid: http::Error| Refusal::Bad("invalid_target");
    *request.uri_mut() = uri(target, two).map_err(bad)?;
    {
        let mut record = exchange.record();
        record.forwarded_for = request.headers().get("x-forwarded-for").cloned();
        record.attempts = 1;
        record.upstream = Some(permit.destination());
        connection.worker.telemetry.capture_request(&mut record, request.headers());
    }
    let began = Instant::now();
    let answer = if two {
        http2(connection, request, permit, (crossing, target), &exchange).await
    } else {
        http1(connection, request, permit, upgrade.is_some()).await
    };
    let mut answer = answer?;
    finish(connection, &mut answer, began.elapsed(), &exchange);
    Ok(answer)
}

/// The headers as the application gets them.
fn headers<N: PodNetwork>(
    connection: &Requests<N>,
    target: &Target,
    mut headers: HeaderMap,
    upgrade: Option<&HeaderValue>,
) -> HeaderMap {
    head::strip_hop(&mut headers);
    head::strip_expect(&mut headers);
    if let Some(authority) = &target.authority {
        headers.insert(HOST, authority.clone());
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    headers.entry(head::FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    client_certificate(connection, &mut headers);
    headers
}

/// Istio's inbound proxies append who has proven to be the client, and let nobody say so who has not.
fn client_certificate<N: PodNetwork>(connection: &Requests<N>, headers: &mut HeaderMap) {
    let Some(proven) = &connection.client_certificate else {
        headers.remove(CLIENT_CERT);
        return;
    };
    let earlier =
        headers.get(CLIENT_CERT).map(|earlier| [earlier.as_bytes(), b",", proven.as_bytes()].concat());
    let value = earlier.and_then(|both| HeaderValue::try_from(both).ok());
    headers.insert(CLIENT_CERT, value.unwrap_or_else(|| proven.clone()));
}

/// Who has proven to be the client of a connection, in Envoy's words.
pub(super) fn proven(peer: &Peer, own: Option<&Identity>) -> Option<HeaderValue> {
    let Peer::Verified(peer) = peer else { return None };
    HeaderValue::try_from(format!("By={};URI={peer}", own?)).ok()
}

/// The target as the application gets it: origin form, or all parts of it in HTTP/2.
fn uri(target: &Target, two: bool) -> Result<Uri, http::Error> {
    let authority =
        target.authority.as_ref().and_then(|authority| Authority::try_from(authority.as_bytes()).ok());
    let connects = target.method == Method::CONNECT;
    match authority {
        Some(authority) if connects && !two => Uri::builder().authority(authority).build(),
        Some(authority) if two => {
            let builder = Uri::builder().scheme(Scheme::HTTP).authority(authority);
            builder.path_and_query(target.path.path_and_query().clone()).build()
        }
        _ => Ok(Uri::from(target.path.path_and_query().clone())),
    }
}

async fn http1<N: PodNetwork>(
    connection: &Requests<N>,
    mut request: Request<Body>,
    permit: Permit,
    upgrades: bool,
) -> Result<Answer, Refusal> {
    *request.version_mut() = Version::HTTP_11;
    let connects = request.method() == Method::CONNECT;
    let mut permit = Some(permit);
    loop {
        let dialling = dial(connection, &mut permit);
        let mut lease =
            connection.app.http1(dialling, &connection.worker.tasks).await.map_err(Refusal::Connect)?;
        match lease.sender.try_send_request(request).await {
            Ok(response) => {
                let status = response.status();
                let switches = (upgrades && status == StatusCode::SWITCHING_PROTOCOLS)
                    || (connects && status.is_success());
                if switches {
                    return Ok(Answer { response, back: Some(lease.back), crossed: false });
                }
                connection.app.give_back(lease);
                return Ok(Answer { response, back: None, crossed: false });
            }
            // It was not sent: the application had closed a connection that was used before.
            Err(mut error) => match error.take_message() {
                Some(unsent) if lease.used => request = unsent,
                _ => return Err(Refusal::Broken(error.into_error().to_string().into())),
            },
        }
    }
}

async fn http2<N: PodNetwork>(
    connection: &Requests<N>,
    mut request: Request<Body>,
    permit: Permit,
    (crossing, target): (Option<OnUpgrade>, &Target),
    exchange: &Rc<Exchange>,
) -> Result<Answer, Refusal> {
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(HOST);
    let mut permit = Some(permit);
    loop {
        let dialling = dial(connection, &mut permit);
        let (mut sender, used) =
            connection.app.http2(dialling, &connection.worker.tasks).await.map_err(Refusal::Connect)?;
        match sender.try_send_request(request).await {
            Ok(mut response) => {
                let near = crossing.filter(|_| response.status().is_success());
                let crossed = near.is_some();
                if let Some(near) = near {
                    let far = hyper::upgrade::on(&mut response);
                    let permitted = while_permitted(connection, target);
                    connection.worker.tasks.spawn_local(cross(near, far, exchange.clone(), permitted));
                }
                return Ok(Answer { response, back: None, crossed });
            }
            Err(mut error) => {
                connection.app.forget();
                match error.take_message() {
                    Some(unsent) if used => request = unsent,
                    _ => return Err(Refusal::Broken(error.into_error().to_string().into())),
                }
            }
        }
    }
}

/// Dials the application by leave of the request that is to be sent; polled only if there is no connection.
async fn dial<N: PodNetwork>(
    connection: &Requests<N>,
    permit: &mut Option<Permit>,
) -> Result<Socket, Failure> {
    let permit = permit.take().ok_or(Reason::ServerReset)?;
    let Requests { worker, pod, client, .. } = connection;
    dial::application(&worker.network, &worker.limits, pod, permit, *client).await
}

/// Bytes between two streams of HTTP/2 that a CONNECT made, for as long as they are permitted.
async fn cross(near: OnUpgrade, far: OnUpgrade, exchange: Rc<Exchange>, permitted: impl Future<Output = ()>) {
    let (Ok(near), Ok(far)) = tokio::join!(near, far) else { return exchange.conclude() };
    let (mut near, mut far) = (TokioIo::new(near), TokioIo::new(far));
    let copied = tokio::select! {
        copied = copy_bidirectional(&mut near, &mut far) => copied.ok(),
        () = permitted => None,
    };
    if let Some((up, down)) = copied {
        exchange.received.set(up);
        exchange.record().sent = down;
    }
    exchange.conclude();
}

/// Ends when a newer configuration denies the request that asked for it.
fn while_permitted<N: PodNetwork>(
    connection: &Requests<N>,
    target: &Target,
) -> impl Future<Output = ()> + use<N> {
    let (worker, pod) = (connection.worker.clone(), connection.pod.uid.clone());
    let (flow, asked) = (connection.flow.clone(), target.asked());
    let mut snapshots = worker.snapshots.clone();
    async move {
        while snapshots.changed().await.is_ok() {
            let snapshot = snapshots.borrow_and_update().clone();
            let facts = RequestFacts { method: &asked.method, path: &asked.path, host: &asked.host };
            let permitted = worker.rules.of(&pod, &snapshot).is_some_and(|local| {
                !local.enrolled || authorize_request(&snapshot, &local, &flow, &facts).is_ok()
            });
            if !permitted {
                return;
            }
        }
        // Without control, the last configuration stays in force.
        std::future::pending().await
    }
}

/// The answer's head as the client gets it, and what telemetry is told of it.
fn finish<N: PodNetwork>(connection: &Requests<N>, answer: &mut Answer, took: Duration, exchange: &Exchange) {
    let response = &mut answer.response;
    let switches_to = answer.back.is_some().then(|| response.headers().get(UPGRADE).cloned()).flatten();
    head::strip_hop(response.headers_mut());
    if let Some(protocol) = switches_to {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, protocol);
    }
    response.headers_mut().insert(head::SERVICE_TIME, head::millis(took));
    if response.version() < Version::HTTP_2 {
        *response.version_mut() = Version::HTTP_11;
    }
    let mut record = exchange.record();
    record.code = response.status().as_u16();
    record.details = "via_upstream";
    record.upstream_time = Some(took);
    record.upstream_local = connection.app.local();
    record.grpc_status = head::grpc_status(response.headers());
    connection.worker.telemetry.capture_response(&mut record, response.headers());
}
