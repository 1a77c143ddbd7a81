//! One request: read strictly, routed, answered here or sent on.

use std::rc::Rc;

use heddle_core::route::{BadPath, CanonicalPath};
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::LocalWorkload;
use http::header::SEC_WEBSOCKET_KEY;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::body::{Body, BoxError};
use super::exchange::{Exchange, Keep, Receiving};
use super::forward;
use super::head::{self, BadHead};
use super::local::Local;
use super::record::{Flags, RequestRecord};
use super::routing::{self, Plan};
use super::server::UnderWay;
use super::stage::Stage;
use crate::telemetry::Direction;
use crate::telemetry::tcp::Party;
use crate::traffic::network::PodNetwork;

/// Serves one request; what cannot be sent on is answered here.
///
/// # Errors
/// None: hyper wants the type.
pub async fn serve<N: PodNetwork>(
    stage: Rc<Stage<N>>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, BoxError> {
    let two = request.version() == Version::HTTP_2;
    let on_upgrade = (two && request.method() == Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
    let (parts, incoming) = request.into_parts();
    let exchange = begin(&stage, &parts);
    let under_way = stage.activity.begin();
    let (version, grpc) = (parts.version, exchange.record().grpc);
    let answered = answer(&stage, &exchange, (parts, on_upgrade), incoming).await;
    let mut response = match answered {
        Ok(Answer::Upstream(response)) => response,
        Ok(Answer::Here(local)) | Err(local) => reply(&exchange, *local, grpc, under_way),
    };
    if let Some(framing) = &stage.framing {
        framing.answer(stage.crossing.borrow().is_some());
    }
    // Hyper turns it into what the client understands.
    *response.version_mut() = if version == Version::HTTP_2 { version } else { Version::HTTP_11 };
    Ok(response)
}

/// How a request was answered.
#[derive(Debug)]
pub enum Answer {
    /// By an upstream.
    Upstream(Response<Body>),
    /// By a rule, without one.
    Here(Box<Local>),
}

impl From<Local> for Answer {
    fn from(local: Local) -> Self {
        Self::Here(Box::new(local))
    }
}

async fn answer<N: PodNetwork>(
    stage: &Rc<Stage<N>>,
    exchange: &Rc<Exchange>,
    (parts, on_upgrade): (Parts, Option<OnUpgrade>),
    incoming: Incoming,
) -> Result<Answer, Box<Local>> {
    let snapshot = stage.worker.snapshot();
    let local = stage.worker.rules.of(&stage.pod.uid, &snapshot).ok_or_else(Local::not_found)?;
    classify(stage, exchange, &snapshot, &local);
    let asked = Asked { on_upgrade, ..Asked::read(stage, parts, &snapshot)? };
    exchange.record().authority = Some(asked.authority.clone());
    let plan = routing::plan(stage, exchange, &asked, &snapshot, &local)?;
    match plan {
        Plan::Answer(local) => Ok(Answer::Here(local)),
        Plan::Forward(route) => {
            drop((snapshot, local));
            forward::send(stage, exchange, asked, *route, incoming).await.map(Answer::Upstream)
        }
    }
}

/// A request that is one, with everything that routing asks about.
#[derive(Debug)]
pub struct Asked {
    /// Its head, as it came.
    pub parts: Parts,
    /// Whom it asks.
    pub authority: HeaderValue,
    /// For what.
    pub path: CanonicalPath,
    /// The protocol that it wants to switch to.
    pub upgrade: Option<HeaderValue>,
    /// Of HTTP/2: what becomes of the client's stream.
    pub on_upgrade: Option<OnUpgrade>,
}

impl Asked {
    fn read<N: PodNetwork>(
        stage: &Stage<N>,
        mut parts: Parts,
        snapshot: &Snapshot,
    ) -> Result<Self, Box<Local>> {
        let bad = |details| Box::new(Local::bad_request(details));
        let authority = head::authority(&parts.uri, &parts.headers).map_err(|bad_head| {
            bad(match bad_head {
                BadHead::Authority => "http1.codec_error",
                BadHead::TwoAuthorities => "http1.invalid_host_header",
            })
        })?;
        let authority = match authority {
            Some(authority) => authority,
            // HTTP/1.0, or an empty Host: whom it dialled.
            None => dialled_authority(stage).ok_or_else(|| bad("missing_host_header"))?,
        };
        let how = snapshot.routes().normalization();
        let path = CanonicalPath::of(&parts.uri, how).map_err(|bad_path| {
            bad(match bad_path {
                BadPath::Relative => "absolute_path_missing",
                _ => "path_normalization_failed",
            })
        })?;
        let upgrade = head::upgrade(&parts.headers);
        let mut upgrade = upgrade.filter(|_| parts.version == Version::HTTP_11 && stage.framing.is_some());
        if let Some(protocol) = parts.extensions.remove::<hyper::ext::Protocol>() {
            // RFC 8441: what HTTP/1 asks for with `Upgrade`.
            upgrade = HeaderValue::from_str(protocol.as_str()).ok();
            extended(stage, &mut parts, protocol.as_str());
        }
        head::strip_hop(&mut parts.headers);
        head::strip_expect(&mut parts.headers);
        Ok(Self { parts, authority, path, upgrade, on_upgrade: None })
    }

    /// Whether nothing but bytes follow the head.
    pub fn is_tunnel(&self) -> bool {
        self.upgrade.is_some() || self.parts.method == Method::CONNECT
    }
}

/// A WebSocket of HTTP/2 as HTTP/1 has it, for servers that know no other.
fn extended<N: PodNetwork>(stage: &Stage<N>, parts: &mut Parts, protocol: &str) {
    parts.method = Method::GET;
    if protocol == "websocket" && !parts.headers.contains_key(SEC_WEBSOCKET_KEY) {
        // Sixteen bytes in base64. Their answer proves nothing here: the client has none to check it by.
        let mut digits = [stage.worker.random_bits(), stage.worker.random_bits()];
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut key = [b'='; 24];
        for (at, place) in key.iter_mut().take(21).enumerate() {
            let word = &mut digits[at / 11];
            *place = ALPHABET[usize::try_from(*word & 63).unwrap_or(0)];
            *word >>= 6;
        }
        key[21] = b'A';
        if let Ok(key) = HeaderValue::from_bytes(&key) {
            parts.headers.insert(SEC_WEBSOCKET_KEY, key);
        }
    }
}

fn dialled_authority<N>(stage: &Stage<N>) -> Option<HeaderValue> {
    let text = match &stage.service {
        Some(service) => service.hostname.to_string(),
        None => stage.dialled.0.to_string(),
    };
    HeaderValue::from_str(&text).ok()
}

fn begin<N: PodNetwork>(stage: &Stage<N>, parts: &Parts) -> Rc<Exchange> {
    let mut record =
        RequestRecord::begin(Direction::Outbound, &parts.method, &parts.uri, parts.version, &parts.headers);
    record.downstream_local = Some(stage.dialled.0);
    record.downstream_remote = Some(stage.client);
    Exchange::new(&stage.worker.telemetry, record)
}

fn classify<N>(stage: &Stage<N>, exchange: &Exchange, snapshot: &Snapshot, local: &LocalWorkload) {
    let mut record = exchange.record();
    record.source = match snapshot.workload(&local.workload_uid) {
        Some(workload) => Party::Workload(workload.clone()),
        None => Party::Identity(local.identity.clone()),
    };
    record.service.clone_from(&stage.service);
}

/// The answer of the stage itself.
fn reply(exchange: &Rc<Exchange>, local: Local, grpc: bool, under_way: UnderWay) -> Response<Body> {
    let mut record = exchange.record();
    record.code = local.status.as_u16();
    record.flags.add(local.flags);
    record.details = local.details;
    drop(record);
    let response = local.into_response(grpc);
    if grpc {
        let mut record = exchange.record();
        record.grpc_status = head::grpc_status(response.headers());
        record.code = response.status().as_u16();
    }
    let watch = Receiving::new(exchange.clone(), Nothing(under_way), None);
    response.map(|body| body.watched(Box::new(watch)))
}

/// All that an answer of our own keeps.
struct Nothing(#[allow(dead_code, reason = "kept, not read")] UnderWay);

impl Keep for Nothing {
    fn end(self, _complete: bool) {}
}

/// Bytes that were no request: hyper has answered 400 and closes.
pub fn record_bad<N: PodNetwork>(stage: &Stage<N>, version: Version) {
    let (method, uri) = (Method::GET, http::Uri::default());
    let mut record =
        RequestRecord::begin(Direction::Outbound, &method, &uri, version, &http::HeaderMap::new());
    record.downstream_local = Some(stage.dialled.0);
    record.downstream_remote = Some(stage.client);
    record.code = StatusCode::BAD_REQUEST.as_u16();
    record.flags.add(Flags::DPE);
    record.details = "http1.codec_error";
    Exchange::new(&stage.worker.telemetry, record).conclude();
}
