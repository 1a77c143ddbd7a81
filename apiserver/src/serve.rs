//! Connections: HTTP/1.1, plain or under TLS, until they are cut.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::desk::Reply;
use crate::failure::{Answer, Failure};
use crate::faults::What;
use crate::request::{Asked, Raw};
use crate::world::World;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct Shared {
    world: Mutex<World>,
    /// True: nobody gets through.
    pub(crate) down: watch::Sender<bool>,
    pub(crate) stop: CancellationToken,
}

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self { world: Mutex::new(world), down: watch::channel(false).0, stop: CancellationToken::new() }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes connections until it is stopped.
pub(crate) async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        if *shared.down.borrow() {
            continue;
        }
        let (shared, tls) = (shared.clone(), tls.clone());
        tokio::spawn(async move {
            let mut down = shared.down.subscribe();
            let serving = async {
                match tls {
                    None => connection(stream, &shared).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            connection(stream, &shared).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = serving => {}
                () = shared.stop.cancelled() => {}
                _ = down.wait_for(|down| *down) => {}
            }
        });
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, shared: &Arc<Shared>) {
    let service = service_fn(|request: Request<Incoming>| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(respond(request, &shared).await) }
    });
    // A client that is gone, or was cut off, is no news.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(request: Request<Incoming>, shared: &Arc<Shared>) -> Response<Body> {
    let header = |name: hyper::header::HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let mut raw = Raw {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        authorization: header(hyper::header::AUTHORIZATION),
        content_type: header(hyper::header::CONTENT_TYPE).unwrap_or_default(),
        user_agent: header(hyper::header::USER_AGENT).unwrap_or_default(),
        body: Vec::new(),
    };
    match request.into_body().collect().await {
        Ok(body) => raw.body = body.to_bytes().to_vec(),
        Err(error) => return json(400, &Failure::bad_request(error.to_string()).status()),
    }
    let hangs = hang(&raw, shared);
    if let Some(time) = hangs {
        tokio::time::sleep(time).await;
    }
    match answer(&raw, shared) {
        Ok(Reply::Json(code, value)) => json(code, &value),
        Ok(Reply::Watch(watch)) => stream(watch.run(shared.clone())),
        Ok(Reply::Cut(value)) => cut(value),
        Err(failure) => {
            let mut response = json(failure.code, &failure.status());
            if let Some(seconds) = failure.retry_after {
                response.headers_mut().insert(hyper::header::RETRY_AFTER, seconds.into());
            }
            response
        }
    }
}

fn hang(raw: &Raw, shared: &Shared) -> Option<Duration> {
    let mut world = shared.world();
    let asked = Asked::read(raw, &world).ok().flatten()?;
    match world.strike(asked.verb, &asked.resource.id, |what| matches!(what, What::Hang(_))) {
        Some(What::Hang(millis)) => Some(Duration::from_millis(millis)),
        _ => None,
    }
}

fn answer(raw: &Raw, shared: &Shared) -> Answer<Reply> {
    let mut world = shared.world();
    if let Some(answer) = world.control(raw) {
        return answer.map(|value| Reply::Json(200, value));
    }
    if matches!(raw.path.as_str(), "/healthz" | "/livez" | "/readyz") {
        return Ok(Reply::Json(200, "ok".into()));
    }
    let user = world.authenticate(raw.authorization.as_deref())?;
    match Asked::read(raw, &world)? {
        Some(asked) => {
            world.saw(asked.sentence());
            world.answer(raw, &asked, &user)
        }
        None if raw.path != "/version" && world.rbac && user.name == "system:anonymous" => Err(Failure::new(
            403,
            "Forbidden",
            format!("User \"system:anonymous\" cannot get path {:?}", raw.path),
        )),
        None => world.discover(&raw.path).map(|value| Reply::Json(200, value)),
    }
}

fn json(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or_default();
    is_json(&mut response);
    response
}

fn is_json(response: &mut Response<Body>) {
    let value = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, value);
}

fn stream(
    frames: impl futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    is_json(&mut response);
    response
}

/// The first half of an answer, and then the end of the connection.
fn cut(value: Option<Value>) -> Response<Body> {
    let text = value.map(|value| value.to_string()).unwrap_or_default();
    let half = Bytes::from(text.as_bytes()[..text.len() / 2].to_vec());
    let frames = [Ok(Frame::data(half)), Err(io::Error::other("a cut that was asked for"))];
    stream(futures_util::stream::iter(frames).boxed())
}
