//! What the HTTP server answers: the request as it arrived, in the way that its query asks for.
//!
//! `?status=503` · `?fail=2` (the first two of an `x-key` fail; without a key all do) · `?delay=100` (ms) · `?late=2` (only the
//! first two of an `x-key` are delayed) · `?reset=2` (the first two are cut) · `?bytes=N` (a body of N) · `?chunks=N` (one per
//! 100 ms) · `?trailers=1` · `?early=1` (answers before the body) · `?abort=1` (cuts the connection). What fails gets 503 or
//! `&code=409`, with `&grpc=14` or `&ratelimited=1` in its head, or is treated as `&how=abort`, `&how=refuse` (REFUSED_STREAM)
//! or `&how=hang` says; with `&at=v2` only there. `/connections/PORT`: what is open there.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use serde_json::{Map, Value, json};

use super::meter::Meters;

type Body = BoxBody<Bytes, io::Error>;
/// How a connection or a stream is cut.
#[derive(Debug)]
pub(crate) struct Cut(Box<dyn std::error::Error + Send + Sync>);

impl Cut {
    fn by(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Cut {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// Counts of requests by their `x-key`.
#[derive(Debug)]
pub(crate) struct State {
    version: String,
    pod: String,
    seen: Mutex<HashMap<String, u64>>,
    pub(super) meters: Meters,
}

/// The query, as it was written.
struct Ask(BTreeMap<String, String>);

impl Ask {
    fn of(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.parse().ok()
    }
}

impl State {
    pub(crate) fn new(version: String) -> Self {
        let pod = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        Self { version, pod: pod.unwrap_or_default(), seen: Mutex::default(), meters: Meters::default() }
    }

    pub(crate) async fn answer(
        &self,
        mut request: Request<Incoming>,
        client: SocketAddr,
        port: u16,
    ) -> Result<Response<Body>, Cut> {
        let ask = Ask::of(request.uri().query());
        let nth = self.count(&request);
        if let Some(key) = request.uri().path().strip_prefix("/seen/") {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(text(&json!({ "seen": seen.get(key).copied().unwrap_or(0) })));
        }
        if let Some(port) = request.uri().path().strip_prefix("/connections/") {
            return Ok(text(&self.meters.read(port.parse().map_err(Cut::by)?)));
        }
        let _entered = self.meters.request(port);
        if ask.number("abort").is_some() || ask.number("reset").is_some_and(|first| nth <= first) {
            return Err(Cut::by("asked to"));
        }
        let fails = self.fails(&ask, nth);
        match ask.0.get("how").map(String::as_str).filter(|_| fails) {
            Some("abort") => return Err(Cut::by("asked to")),
            Some("refuse") => return Err(Cut::by(h2::Error::from(h2::Reason::REFUSED_STREAM))),
            Some("hang") => std::future::pending().await,
            _ => {}
        }
        let delay = ask.number("delay").filter(|_| ask.number("late").is_none_or(|first| nth <= first));
        if let Some(milliseconds) = delay {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        let mut said = self.described(&request, client, port);
        said["attempt"] = json!(nth);
        let mut answer = if let Some(bytes) = ask.number("bytes") {
            Response::new(stream(bytes, Duration::ZERO))
        } else if let Some(chunks) = ask.number("chunks") {
            Response::new(stream(chunks * 8, Duration::from_millis(100)))
        } else if ask.number("early").is_some() {
            text(&said)
        } else {
            let (received, trailers) = drain(request.body_mut()).await.map_err(Cut::by)?;
            said["received"] = json!(received);
            said["trailers"] = Value::Object(trailers);
            text(&said)
        };
        if ask.number("trailers").is_some() {
            let trailers = HeaderMap::from_iter([(
                hyper::header::HeaderName::from_static("x-trailer"),
                HeaderValue::from_static("at-the-end"),
            )]);
            answer.headers_mut().insert("trailer", HeaderValue::from_static("x-trailer"));
            answer.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
            answer = answer.map(|body| body.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed());
        }
        let failed = fails.then(|| ask.number("code").unwrap_or(503));
        if let Some(status) = failed.or(ask.number("status")).and_then(|status| u16::try_from(status).ok()) {
            *answer.status_mut() = hyper::StatusCode::from_u16(status).map_err(Cut::by)?;
        }
        for (word, header) in [("grpc", "grpc-status"), ("ratelimited", "x-envoy-ratelimited")] {
            if let Some(value) = ask.number(word).filter(|_| fails) {
                answer.headers_mut().insert(header, HeaderValue::from(value));
            }
        }
        let version = HeaderValue::from_str(&self.version).map_err(Cut::by)?;
        answer.headers_mut().insert("x-version", version);
        answer.headers_mut().insert("x-upstream", HeaderValue::from_static("as-sent"));
        Ok(answer)
    }

    /// Whether this one is to fail, here.
    fn fails(&self, ask: &Ask, nth: u64) -> bool {
        let here = ask.0.get("at").is_none_or(|at| *at == self.version);
        here && ask.number("fail").is_some_and(|fail| nth <= fail)
    }

    fn count(&self, request: &Request<Incoming>) -> u64 {
        let Some(key) = request.headers().get("x-key").and_then(|key| key.to_str().ok()) else { return 0 };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let count = seen.entry(key.to_owned()).or_default();
        *count += 1;
        *count
    }

    fn described(&self, request: &Request<Incoming>, client: SocketAddr, port: u16) -> Value {
        let mut headers = Map::new();
        for name in request.headers().keys() {
            let values = request.headers().get_all(name).iter();
            let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            headers.insert(name.to_string(), json!(values.join(",")));
        }
        let host = request.headers().get("host").map(|host| String::from_utf8_lossy(host.as_bytes()));
        let authority = request.uri().authority().map(ToString::to_string);
        json!({
            "version": self.version,
            "pod": self.pod,
            "method": request.method().as_str(),
            "path": request.uri().path_and_query().map_or("", |path| path.as_str()),
            "host": host.map(String::from).or(authority),
            "proto": format!("{:?}", request.version()),
            "headers": headers,
            "client": client.ip().to_canonical(),
            "port": port,
        })
    }
}

fn text(value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("{value}\n"))).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

/// How much came, and the trailers.
async fn drain(body: &mut Incoming) -> io::Result<(u64, Map<String, Value>)> {
    let (mut received, mut trailers) = (0, Map::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        if let Some(data) = frame.data_ref() {
            received += data.len() as u64;
        } else if let Some(fields) = frame.trailers_ref() {
            let each = fields
                .iter()
                .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))));
            trailers.extend(each);
        }
    }
    Ok((received, trailers))
}

/// A body of so many bytes, in pieces, with a pause between them.
fn stream(mut bytes: u64, pause: Duration) -> Body {
    const PIECE: u64 = 64 * 1024;
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
    let piece = Bytes::from(vec![b'*'; PIECE as usize]);
    tokio::spawn(async move {
        while bytes > 0 {
            let most = if pause.is_zero() { PIECE } else { 8 };
            let length = bytes.min(most);
            // The client went away.
            let Ok(()) = sender.send_data(piece.slice(..length as usize)).await else { return };
            bytes -= length;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    });
    BoxBody::new(body)
}
