//! What the node's network may see: metrics, and whether the agent is ready.

use std::future::ready;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;

use super::Sources;
use super::http::{Answer, Connections, ServeError, accept_failed, answer, text};
use super::metrics::Metrics;

/// Serves `/metrics` until the task is dropped.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve_metrics(address: SocketAddr, sources: Arc<Sources>) -> Result<(), ServeError> {
    let failed = |error| ServeError(format!("metrics on {address}"), error);
    let metrics = Metrics::new(&sources.registry).map_err(|error| failed(io::Error::other(error)))?;
    let metrics = Arc::new(metrics);
    serve(address, "metrics", move |request| match request.uri().path() {
        "/metrics" | "/stats/prometheus" => match metrics.render(&sources) {
            Ok(body) => answer(StatusCode::OK, "text/plain; version=0.0.4", body.into()),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        _ => text(StatusCode::NOT_FOUND, "there is only /metrics\n"),
    })
    .await
}

/// Serves `/healthz/ready` until the task is dropped.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve_ready(address: SocketAddr, sources: Arc<Sources>) -> Result<(), ServeError> {
    serve(address, "ready", move |request| match request.uri().path() {
        "/healthz/ready" if sources.is_ready() => text(StatusCode::OK, "ready\n"),
        "/healthz/ready" if sources.is_draining() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/healthz/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "no configuration is in force yet\n"),
        _ => text(StatusCode::NOT_FOUND, "there is only /healthz/ready\n"),
    })
    .await
}

/// `[::]` is every address of both families, and of the one family that a node without IPv6 has.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) && address.ip().is_unspecified() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

async fn serve<F>(address: SocketAddr, name: &'static str, respond: F) -> Result<(), ServeError>
where
    F: Fn(&Request<Incoming>) -> Answer + Send + Sync + 'static,
{
    let listener = bind(address).await.map_err(|error| ServeError(format!("{name} on {address}"), error))?;
    let (connections, respond) = (Connections::new(), Arc::new(respond));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let respond = Arc::clone(&respond);
                connections.spawn(stream, move |request| {
                    ready(match *request.method() {
                        Method::GET | Method::HEAD => respond(&request),
                        _ => text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n"),
                    })
                });
            }
            Err(error) => accept_failed(name, &error).await,
        }
    }
}
