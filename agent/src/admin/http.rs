//! HTTP/1.1 for people and scrapers: bounded connections, bounded time, small answers.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

/// At a time and listener.
const CONNECTIONS: usize = 64;
const HEADERS: Duration = Duration::from_secs(5);
/// A connection that asks nothing more within this is closed; so is one that takes longer for its answer.
const CONNECTION: Duration = Duration::from_secs(60);

/// Why a listener cannot serve.
#[derive(Debug, thiserror::Error)]
#[error("{0}: {1}")]
pub struct ServeError(pub(super) String, #[source] pub(super) io::Error);

pub(super) type Answer = Response<Full<Bytes>>;

/// Connections of one listener.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Semaphore>);

impl Connections {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(CONNECTIONS)))
    }

    /// Serves one connection on its own task; over the bound it is closed at once.
    pub(super) fn spawn<Io, F, Fut>(&self, io: Io, respond: F)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send,
    {
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let _held = permit;
            let service = service_fn(|request| {
                let answer = respond(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .serve_connection(TokioIo::new(io), service);
            // An error here is the client's: it went away or did not speak HTTP.
            let _ended = tokio::time::timeout(CONNECTION, connection).await;
        });
    }
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", body.into())
}

pub(super) fn json(value: &serde_json::Value) -> Answer {
    answer(StatusCode::OK, "application/json", value.to_string().into())
}

pub(super) fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// What to do after `accept` failed: wait where the process is out of descriptors, go on else.
pub(super) async fn accept_failed(listener: &'static str, error: &io::Error) {
    tracing::warn!(listener, %error, "accept failed");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
