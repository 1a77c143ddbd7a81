//! HTTP/1.1 for one connection: GET in, a whole body out, bounded in time.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

const IDLE: Duration = Duration::from_secs(30);

/// A reply.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

impl Reply {
    pub(super) fn text(body: String) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain; version=0.0.4", body }
    }

    pub(super) fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(body) => Self { status: StatusCode::OK, content_type: "application/json", body },
            Err(error) => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                content_type: "text/plain",
                body: error.to_string(),
            },
        }
    }

    pub(super) fn unavailable(body: &str) -> Self {
        let body = body.to_owned();
        Self { status: StatusCode::SERVICE_UNAVAILABLE, content_type: "text/plain", body }
    }

    pub(super) fn not_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, content_type: "text/plain", body: "not found\n".to_owned() }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        let content_type = hyper::header::HeaderValue::from_static(self.content_type);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }
}

/// Serves one connection on a task of its own.
pub(super) fn spawn<S, H, F>(stream: S, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(String) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move {
            let reply = if request.method() == Method::GET {
                handler(request.uri().path().to_owned()).await
            } else {
                let (status, body) = (StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
                Reply { status, content_type: "text/plain", body }
            };
            Ok::<_, Infallible>(reply.into_response())
        }
    });
    tokio::spawn(async move {
        let mut builder = hyper::server::conn::http1::Builder::new();
        let serving = builder
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = serving.await {
            tracing::debug!(%error, "admin connection");
        }
    });
}
