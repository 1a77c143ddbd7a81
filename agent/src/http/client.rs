//! The side that makes requests: hyper's client connections with our bounds, on one thread.

use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio_util::task::TaskTracker;

use super::body::Body;
use super::io::HttpIo;
use super::server::{LocalExecutor, MAX_HEAD, MAX_HEADERS};
use crate::traffic::limits::{MAX_FRAME, MAX_LOCAL_RESETS, MAX_PENDING_RESETS};

/// What hyper may buffer of one HTTP/1 connection.
const HTTP1_BUFFER: usize = 64 * 1024;
/// Of one stream, before it was read.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Of all streams of a connection.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Makes requests on an HTTP/1 connection, one at a time.
pub type Http1 = http1::SendRequest<Body>;
/// Makes requests on an HTTP/2 connection, many at a time.
pub type Http2 = http2::SendRequest<Body>;
/// Drives an HTTP/1 connection; gives the wire back when it has ended or switched protocols.
pub type Http1Driver = http1::Connection<HttpIo, Body>;

/// Begins HTTP/1 on a connection.
///
/// # Errors
/// None that the protocol knows.
pub async fn http1(io: HttpIo) -> Result<(Http1, Http1Driver), hyper::Error> {
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_HEADERS).max_header_size(MAX_HEAD).max_buf_size(HTTP1_BUFFER);
    builder.handshake(io).await
}

/// Begins HTTP/2 on a connection; a task of the worker drives it until it has ended, and keeps `kept` until then.
///
/// # Errors
/// The connection broke at once.
pub async fn http2(
    io: HttpIo,
    tasks: &TaskTracker,
    kept: impl Sized + 'static,
) -> Result<Http2, hyper::Error> {
    let mut builder = http2::Builder::new(LocalExecutor(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEAD as u32)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS);
    let (sender, connection) = builder.handshake(io).await?;
    tasks.spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "HTTP/2 connection ended");
        }
        drop(kept);
    });
    Ok(sender)
}
