//! The side that takes requests: hyper's server connections with our bounds, on one thread.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::TokioTimer;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::{Body, BoxError};
use super::framing::Framing;
use super::io::{HttpIo, Wire};
use crate::traffic::limits::{MAX_FRAME, MAX_LOCAL_RESETS, MAX_PENDING_RESETS};

/// Headers of one message: Envoy's bound.
pub const MAX_HEADERS: usize = 100;
/// Bytes of one head: Envoy's bound.
pub const MAX_HEAD: usize = 60 * 1024;
/// What hyper may buffer of one HTTP/1 connection.
const HTTP1_BUFFER: usize = 64 * 1024;
/// Requests under way on one HTTP/2 connection.
pub const STREAMS: u32 = 256;
/// Of one stream, before we have read it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Of all streams of a connection.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// How a connection ended that did not fail.
#[derive(Debug)]
pub enum Ended {
    /// By the peer, by us, or by a deadline: everything that had begun was answered.
    Closed,
    /// The last answer switched protocols: the wire is the new protocol's, and these bytes of it have come already.
    Switched(Box<(Wire, Bytes)>),
}

/// What bounds a connection from outside.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Once cancelled: no new requests.
    pub draining: CancellationToken,
    /// How long it may be without a request.
    pub idle: Duration,
    /// When it was last of use, and how much is under way.
    pub activity: Rc<Activity>,
}

/// Requests of a connection.
#[derive(Debug, Default)]
pub struct Activity {
    under_way: std::cell::Cell<usize>,
    seen: std::cell::Cell<u64>,
}

/// One request under way.
#[derive(Debug)]
pub struct UnderWay(Rc<Activity>);

impl Activity {
    /// Until the guard is dropped the connection is not idle.
    pub fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        self.seen.set(self.seen.get() + 1);
        UnderWay(self.clone())
    }

    fn mark(&self) -> Option<u64> {
        (self.under_way.get() == 0).then_some(self.seen.get())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

/// Spawns hyper's tasks where the worker waits for them.
#[derive(Clone, Debug)]
pub struct LocalExecutor(pub TaskTracker);

impl<F> Executor<F> for LocalExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn_local(task);
    }
}

/// Serves HTTP/1 until the connection ends.
///
/// # Errors
/// The peer broke it off, or sent what is no HTTP (that was answered 400 already).
pub async fn http1<S>(
    wire: Wire,
    first: Bytes,
    framing: Rc<Framing>,
    service: S,
    bounds: &Bounds,
    head: Duration,
) -> Result<Ended, hyper::Error>
where
    S: HttpService<Incoming, ResBody = Body> + Unpin,
    S::Error: Into<BoxError>,
{
    let io = HttpIo::http1_server(wire, first, framing.clone(), head);
    let mut builder = http1::Builder::new();
    builder
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(HTTP1_BUFFER)
        .auto_date_header(false);
    let mut connection = Box::pin(builder.serve_connection(io, service));
    drive(&mut connection, |connection| connection.as_mut().graceful_shutdown(), bounds).await?;
    let parts = Pin::into_inner(connection).into_parts();
    if framing.has_switched() {
        return Ok(Ended::Switched(Box::new(parts.io.into_raw(parts.read_buf))));
    }
    // Hyper has ended its side; the last answer must not be overtaken by a reset.
    parts.io.close().await;
    Ok(Ended::Closed)
}

/// Serves HTTP/2 until the connection ends. Extended CONNECT is offered.
///
/// # Errors
/// The peer broke it off or broke its rules.
pub async fn http2<S>(
    wire: Wire,
    first: Bytes,
    service: S,
    bounds: &Bounds,
    tasks: &TaskTracker,
) -> Result<(), hyper::Error>
where
    S: HttpService<Incoming, ResBody = Body> + Unpin,
    S::Error: Into<BoxError>,
    S::Future: 'static,
{
    let io = HttpIo::http2_server(wire, first);
    let mut builder = http2::Builder::new(LocalExecutor(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEAD as u32)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .enable_connect_protocol()
        .auto_date_header(false);
    let mut connection = Box::pin(builder.serve_connection(io, service));
    drive(&mut connection, |connection| connection.as_mut().graceful_shutdown(), bounds).await
}

/// Polls a connection to its end; asks it once to take no more requests.
async fn drive<C>(
    connection: &mut Pin<Box<C>>,
    leave: fn(&mut Pin<Box<C>>),
    bounds: &Bounds,
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut leaving = false;
    let mut idle = Box::pin(until_idle(bounds));
    loop {
        tokio::select! {
            biased;
            ended = &mut *connection => return ended,
            () = bounds.draining.cancelled(), if !leaving => {}
            () = &mut idle, if !leaving => {}
        }
        leaving = true;
        leave(connection);
    }
}

/// Ends when there was no request for as long as that may be.
async fn until_idle(bounds: &Bounds) {
    let mut before = bounds.activity.mark();
    loop {
        sleep(bounds.idle).await;
        let now = bounds.activity.mark();
        if now.is_some() && now == before {
            return;
        }
        before = now;
    }
}
