//! The connection to the application: one, dialled for a request that was permitted, used again while it lasts.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::http::client::{self, Http1, Http2};
use crate::http::{HttpIo, Wire};
use crate::telemetry::{Failure, Reason};
use crate::traffic::socket::Socket;

/// How long a connection that has just answered may take to be ready for the next request.
const READY: Duration = Duration::from_millis(50);

/// Of one inbound stream.
#[derive(Debug)]
pub(super) struct App {
    opened: RefCell<Option<Socket>>,
    http1: RefCell<Option<Lease1>>,
    http2: RefCell<Option<Http2>>,
    /// Our end of the last connection.
    local: Cell<Option<SocketAddr>>,
}

/// An HTTP/1 connection that is used by one request.
#[derive(Debug)]
pub(super) struct Lease1 {
    /// Sends it.
    pub(super) sender: Http1,
    /// Gives the wire back if the answer switches protocols; whoever drops it wants it closed.
    pub(super) back: oneshot::Receiver<(Wire, Bytes)>,
    /// It has answered before, so that the application may be about to close it.
    pub(super) used: bool,
}

impl App {
    pub(super) fn new(opened: Option<Socket>) -> Self {
        Self {
            opened: RefCell::new(opened),
            http1: RefCell::default(),
            http2: RefCell::default(),
            local: Cell::default(),
        }
    }

    /// Our end of the connection.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local.get()
    }

    /// An HTTP/1 connection: the last one, the one that was opened already, or a new one.
    pub(super) async fn http1(
        &self,
        dial: impl Future<Output = Result<Socket, Failure>>,
        tasks: &TaskTracker,
    ) -> Result<Lease1, Failure> {
        let last = self.http1.borrow_mut().take();
        if let Some(mut last) = last
            && (last.sender.is_ready() || matches!(timeout(READY, last.sender.ready()).await, Ok(Ok(()))))
        {
            return Ok(last);
        }
        let socket = self.socket(dial).await?;
        let began = client::http1(HttpIo::client(Wire::Socket(socket))).await;
        let (sender, driver) = began.map_err(|error| Failure::new(Reason::ServerReset, &error))?;
        let (give, back) = oneshot::channel();
        tasks.spawn_local(async move {
            match driver.without_shutdown().await {
                Ok(parts) if give.is_closed() => parts.io.close().await,
                // Nobody takes it whose answer did not switch: dropped then, it is closed.
                Ok(parts) => match give.send(parts.io.into_raw(parts.read_buf)) {
                    Ok(()) => {}
                    Err((wire, _rest)) => HttpIo::client(wire).close().await,
                },
                Err(error) => tracing::debug!(%error, "connection to the application ended"),
            }
        });
        Ok(Lease1 { sender, back, used: false })
    }

    /// The connection may be used again.
    pub(super) fn give_back(&self, lease: Lease1) {
        *self.http1.borrow_mut() = Some(Lease1 { used: true, ..lease });
    }

    /// The HTTP/2 connection, and whether it is one that was used before.
    pub(super) async fn http2(
        &self,
        dial: impl Future<Output = Result<Socket, Failure>>,
        tasks: &TaskTracker,
    ) -> Result<(Http2, bool), Failure> {
        let last = self.http2.borrow().clone();
        if let Some(last) = last.filter(|last| !last.is_closed()) {
            return Ok((last, true));
        }
        let socket = self.socket(dial).await?;
        let began = client::http2(HttpIo::client(Wire::Socket(socket)), tasks, ()).await;
        let sender = began.map_err(|error| Failure::new(Reason::ServerReset, &error))?;
        *self.http2.borrow_mut() = Some(sender.clone());
        Ok((sender, false))
    }

    /// The connection is of no more use.
    pub(super) fn forget(&self) {
        *self.http2.borrow_mut() = None;
    }

    async fn socket(&self, dial: impl Future<Output = Result<Socket, Failure>>) -> Result<Socket, Failure> {
        let opened = self.opened.borrow_mut().take();
        let socket = match opened {
            Some(opened) => opened,
            None => dial.await?,
        };
        self.local.set(socket.local_addr().ok());
        Ok(socket)
    }
}
