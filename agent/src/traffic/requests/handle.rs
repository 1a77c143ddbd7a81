//! One request: parsed, judged, sent on, and its answer sent back.

use std::rc::Rc;

use heddle_core::authorize::{Permit, Verdict, authorize, authorize_request};
use heddle_core::policy::RequestFacts;
use heddle_core::route::CanonicalPath;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;

use super::refusal::Refusal;
use super::switch::Switch;
use super::{Requests, forward};
use crate::http::exchange::{Exchange, Keep, Receiving};
use crate::http::server::UnderWay;
use crate::http::{Body, BoxError, RequestRecord, head};
use crate::traffic::live::Asked;
use crate::traffic::network::PodNetwork;

/// What is judged and sent on: nothing of the request target is used but this.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) method: Method,
    pub(super) path: CanonicalPath,
    /// `None`: HTTP/1.0 without a `Host`.
    pub(super) authority: Option<HeaderValue>,
}

impl Target {
    fn facts(&self) -> RequestFacts<'_> {
        let host = self.authority.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        RequestFacts { method: self.method.as_str(), path: self.path.path(), host }
    }

    pub(super) fn asked(&self) -> Asked {
        let RequestFacts { method, path, host } = self.facts();
        Asked { method: method.into(), path: path.into(), host: host.into() }
    }
}

/// The service that hyper calls.
pub(super) async fn serve<N: PodNetwork>(
    connection: Rc<Requests<N>>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, BoxError> {
    let under_way = connection.activity.begin();
    request.headers_mut().entry(head::REQUEST_ID).or_insert_with(|| {
        head::request_id(connection.worker.random_bits(), connection.worker.random_bits())
    });
    let exchange = observe(&connection, &request);
    let upgrade = head::upgrade(request.headers()).filter(|_| request.version() < Version::HTTP_2);
    let connects = *request.method() == Method::CONNECT;
    // Whatever the framing waits for an answer to.
    let names_switch = connects || request.headers().contains_key(http::header::UPGRADE);
    let one = request.version() < Version::HTTP_2;
    let crossing = (connects && !one).then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let judged = target(&connection, &parts.method, &parts.uri, &parts.headers, parts.version)
        .map_err(Refusal::Bad)
        .and_then(|target| judge(&connection, &target).map(|permit| (target, permit)));
    let answered = match judged {
        Ok((target, permit)) => {
            let sent = forward::Sent { parts, body, upgrade, crossing, exchange: exchange.clone() };
            forward::send(&connection, &target, permit, sent).await.map(|answer| (answer, target))
        }
        Err(refusal) => Err(refusal),
    };
    let response = match answered {
        Ok((forward::Answer { response, back: Some(back), .. }, target)) => {
            connection.registration.has_switched(target.asked());
            *connection.switch.borrow_mut() = Some(Switch { back, exchange });
            connection.framing.answer(true);
            return Ok(response.map(|_nothing| Body::empty()));
        }
        Ok((forward::Answer { response, crossed: true, .. }, _)) => {
            return Ok(response.map(|_nothing| Body::empty()));
        }
        Ok((forward::Answer { response, .. }, _)) => response.map(Body::incoming),
        Err(refusal) => refusal.answer(&exchange),
    };
    if one && names_switch {
        connection.framing.answer(false);
    }
    Ok(response.map(|body| body.watched(Box::new(Receiving::new(exchange, Guard(under_way), None)))))
}

/// The connection is not idle until the answer has ended.
struct Guard(#[expect(dead_code, reason = "held")] UnderWay);

impl Keep for Guard {
    fn end(self, _complete: bool) {}
}

fn observe<N: PodNetwork>(connection: &Requests<N>, request: &Request<Incoming>) -> Rc<Exchange> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let record = RequestRecord::begin(connection.direction, method, uri, request.version(), headers);
    Exchange::new(&connection.worker.telemetry, of_connection(connection, record))
}

/// What a record knows from its connection.
fn of_connection<N: PodNetwork>(connection: &Requests<N>, record: RequestRecord) -> RequestRecord {
    let labels = &connection.labels;
    let authority = record.authority.as_ref().map(HeaderValue::as_bytes);
    let authority = authority.or(record.uri.authority().map(|authority| authority.as_str().as_bytes()));
    let asked = authority.and_then(|authority| {
        let host = authority.split(|byte| *byte == b':').next().unwrap_or_default();
        connection.services.iter().find(|service| is_named(&service.hostname, host))
    });
    RequestRecord {
        cluster: Some(connection.cluster.clone()),
        downstream_local: Some(connection.flow.destination),
        downstream_remote: Some(connection.client),
        route: Some(connection.worker.http.default_route()),
        source: labels.source.clone(),
        destination: labels.destination.clone(),
        service: asked.or(labels.service.as_ref()).cloned(),
        mutual_tls: labels.mutual_tls,
        ..record
    }
}

/// Whether a host is the service's full name or begins like it: `web`, `web.shop`, `web.shop.svc`.
fn is_named(hostname: &str, host: &[u8]) -> bool {
    let hostname = hostname.as_bytes();
    let same = hostname.get(..host.len()).is_some_and(|start| start.eq_ignore_ascii_case(host));
    !host.is_empty() && same && hostname.get(host.len()).is_none_or(|next| *next == b'.')
}

/// What came was no request; it was answered 400 already.
pub(super) fn record_bad<N: PodNetwork>(connection: &Requests<N>, version: Version) {
    let uri = Uri::from_static("/");
    let record = RequestRecord::begin(connection.direction, &Method::GET, &uri, version, &HeaderMap::new());
    let mut record = of_connection(connection, record);
    record.code = StatusCode::BAD_REQUEST.as_u16();
    record.flags.add(crate::http::Flags::DPE);
    record.details = "http1.codec_error";
    connection.worker.telemetry.request(&record);
}

/// The one form of a request's target.
fn target<N: PodNetwork>(
    connection: &Requests<N>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    version: Version,
) -> Result<Target, &'static str> {
    let authority = head::authority(uri, headers).map_err(|_bad| "invalid_authority")?;
    if authority.is_none() && version != Version::HTTP_10 {
        return Err("missing_host_header");
    }
    let snapshot = connection.worker.snapshot();
    let how = snapshot.routes().normalization();
    let path = CanonicalPath::of(uri, how).map_err(|_bad| "path_normalization_failed")?;
    Ok(Target { method: method.clone(), path, authority })
}

/// By the newest configuration; a connection of which every request is permitted is asked once for each.
fn judge<N: PodNetwork>(connection: &Requests<N>, target: &Target) -> Result<Permit, Refusal> {
    let snapshot = connection.worker.snapshot();
    let denied = || Refusal::Denied("rbac_access_denied_matched_policy[none]".into());
    let local = connection.worker.rules.of(&connection.pod.uid, &snapshot).ok_or_else(denied)?;
    let refused = |denied: heddle_core::authorize::Denied| Refusal::Denied(denied.response_code_details());
    if connection.permitted.get() != Some(snapshot.generation()) {
        match authorize(&snapshot, &local, &connection.flow).map_err(refused)? {
            Verdict::Permit(permit) => {
                connection.permitted.set(Some(snapshot.generation()));
                return Ok(permit);
            }
            Verdict::PerRequest => {}
        }
    }
    authorize_request(&snapshot, &local, &connection.flow, &target.facts()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_by_its_full_name_and_by_what_that_begins_with() {
        let name = "web.shop.svc.cluster.local";
        for host in ["web", "WEB", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local"] {
            assert!(is_named(name, host.as_bytes()), "{host}");
        }
        for host in ["", "we", "web.sho", "webx", "shop", "web.shop.svc.cluster.local.x"] {
            assert!(!is_named(name, host.as_bytes()), "{host}");
        }
    }
}
