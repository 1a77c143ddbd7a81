//! What hyper reads and writes: an application's socket, a stream of a tunnel, or TLS, with the framing watched.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::framing::Framing;
use super::upgrade::Duplex;
use crate::traffic::limits::CHUNK;
use crate::traffic::socket::Socket;
use crate::traffic::tunnel::TunnelStream;

/// Read from a socket at once, at most.
const READ: usize = 64 * 1024;
/// How long a connection that we have ended waits for the other side to end it too.
const GOODBYE: Duration = Duration::from_secs(1);

thread_local! {
    /// Where the sockets of a worker are read into, before hyper gets what was read.
    static INCOMING: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
    /// The same for what comes out of TLS, which reads from a socket meanwhile.
    static DECRYPTED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The buffer that a wire is read into.
fn with_buffer<T>(wire: &mut Wire, read: impl FnOnce(&mut Wire, &mut Vec<u8>) -> T) -> T {
    let buffer = match wire {
        Wire::Tls(_) => &DECRYPTED,
        Wire::Socket(_) | Wire::Tunnel(_) => &INCOMING,
    };
    buffer.with_borrow_mut(|buffer| {
        buffer.resize(READ, 0);
        read(wire, buffer)
    })
}

/// What carries HTTP.
#[derive(Debug)]
pub enum Wire {
    /// An application's.
    Socket(Socket),
    /// Through a tunnel.
    Tunnel(TunnelStream),
    /// TLS that we began.
    Tls(Box<TlsStream<Duplex>>),
}

impl Wire {
    /// Our address; a stream of a tunnel has none of its own.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(socket) => socket.local_addr().ok(),
            Self::Tls(tls) => tls.get_ref().0.local_addr(),
            Self::Tunnel(_) => None,
        }
    }
}

/// One side of an HTTP connection. Dropped before [`HttpIo::close`], it is reset: what was cut off never looks complete.
#[derive(Debug)]
pub struct HttpIo {
    wire: Wire,
    /// Received and not yet asked for.
    ahead: Bytes,
    /// On the side that takes requests: what must hold for every head.
    framing: Option<Rc<Framing>>,
    head: HeadTimer,
    /// Ready once nobody is at the other end any more.
    gone: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
}

/// How long a request head may take from its first byte.
#[derive(Debug)]
struct HeadTimer {
    limit: Duration,
    running: Option<Pin<Box<Sleep>>>,
}

impl HttpIo {
    /// Our address.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.wire.local_addr()
    }

    /// A connection that we make requests on.
    pub fn client(wire: Wire) -> Self {
        Self::new(wire, Bytes::new(), None, Duration::ZERO)
    }

    /// The same; it breaks when `gone` is cancelled. A pod that is gone cannot say so itself.
    pub fn client_until(wire: Wire, gone: &CancellationToken) -> Self {
        let gone = Box::pin(gone.clone().cancelled_owned());
        Self { gone: Some(gone), ..Self::client(wire) }
    }

    /// A connection that we take HTTP/1 requests on. `first`: what was read of it already.
    pub fn http1_server(wire: Wire, first: Bytes, framing: Rc<Framing>, head: Duration) -> Self {
        Self::new(wire, first, Some(framing), head)
    }

    /// A connection that we take HTTP/2 requests on.
    pub fn http2_server(wire: Wire, first: Bytes) -> Self {
        Self::new(wire, first, None, Duration::ZERO)
    }

    fn new(wire: Wire, ahead: Bytes, framing: Option<Rc<Framing>>, limit: Duration) -> Self {
        Self { wire, ahead, framing, head: HeadTimer { limit, running: None }, gone: None, ended: false }
    }

    /// Ends it: nothing more is sent, and what still comes is thrown away for a moment, so that the other side gets what
    /// was sent last instead of a reset.
    pub async fn close(mut self) {
        let closing = async {
            poll_fn(|cx| self.poll_end(cx)).await?;
            while !poll_fn(|cx| self.poll_ahead(cx)).await? {
                self.release(self.ahead.len());
                self.ahead = Bytes::new();
            }
            Ok::<_, io::Error>(())
        };
        if let Ok(Ok(())) = timeout(GOODBYE, closing).await {
            self.finish();
        }
    }

    /// Both directions have ended.
    pub(super) fn finish(self) {
        match self.wire {
            Wire::Socket(socket) => socket.finish(),
            Wire::Tunnel(stream) => stream.finish(),
            Wire::Tls(tls) => tls.into_inner().0.finish(),
        }
    }

    /// Takes the connection back from HTTP: the wire, and what was received of it already.
    pub fn into_raw(self, first: Bytes) -> (Wire, Bytes) {
        if self.ahead.is_empty() {
            return (self.wire, first);
        }
        let mut both = BytesMut::from(first);
        both.extend_from_slice(&self.ahead);
        (self.wire, both.freeze())
    }

    /// Makes sure that there is something in `ahead`; true at the end of the stream.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Ok(false));
        }
        let bytes = match &mut self.wire {
            Wire::Tunnel(stream) => match ready!(stream.receive.poll_data(cx)) {
                None => return Poll::Ready(Ok(true)),
                Some(bytes) => bytes.map_err(io::Error::other)?,
            },
            wire => {
                let read = with_buffer(wire, |wire, incoming| {
                    let mut buffer = ReadBuf::new(incoming);
                    ready!(poll_read_socket(wire, cx, &mut buffer))?;
                    Poll::Ready(Ok::<_, io::Error>(Bytes::copy_from_slice(buffer.filled())))
                });
                ready!(read)?
            }
        };
        let end = bytes.is_empty() && !matches!(self.wire, Wire::Tunnel(_));
        self.ahead = bytes;
        Poll::Ready(Ok(end))
    }

    /// Gives back credit for what was taken.
    fn release(&mut self, taken: usize) {
        if let Wire::Tunnel(stream) = &mut self.wire {
            // It fails only for more than was received.
            drop(stream.receive.flow_control().release_capacity(taken));
        }
    }

    /// What came may not be handed on as it is: the head it belongs to is not one.
    fn poll_inspected(&mut self, cx: &mut Context<'_>, out: &mut ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if let Some(framing) = &self.framing
            && ready!(framing.poll_open(cx))
        {
            return Poll::Ready(Ok(()));
        }
        if self.ahead.is_empty() && !matches!(self.wire, Wire::Tunnel(_)) {
            return self.poll_direct(cx, out);
        }
        loop {
            if ready!(self.poll_ahead(cx))? {
                return Poll::Ready(Ok(()));
            }
            if !self.ahead.is_empty() {
                break;
            }
        }
        let room = out.remaining().min(self.ahead.len());
        let part = self.ahead.slice(..room);
        let taken = hand_on(self.framing.as_deref(), &part, out);
        self.ahead.advance(taken);
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
        }
        self.release(taken);
        Poll::Ready(Ok(()))
    }

    /// A socket's bytes go to hyper with one copy.
    fn poll_direct(&mut self, cx: &mut Context<'_>, out: &mut ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Self { wire, framing, ahead, .. } = self;
        with_buffer(wire, |wire, incoming| {
            let room = out.remaining().min(READ);
            let Some(space) = incoming.get_mut(..room) else { return Poll::Ready(Ok(())) };
            let mut buffer = ReadBuf::new(space);
            ready!(poll_read_socket(wire, cx, &mut buffer))?;
            let read = buffer.filled();
            let taken = hand_on(framing.as_deref(), read, out);
            if let Some(rest) = read.get(taken..).filter(|rest| !rest.is_empty()) {
                *ahead = Bytes::copy_from_slice(rest);
            }
            Poll::Ready(Ok(()))
        })
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        match &mut self.wire {
            Wire::Socket(socket) => ready!(Pin::new(socket.stream_mut()).poll_shutdown(cx))?,
            Wire::Tunnel(stream) => stream.send.send_data(Bytes::new(), true).map_err(io::Error::other)?,
            Wire::Tls(tls) => ready!(Pin::new(tls).poll_shutdown(cx))?,
        }
        self.ended = true;
        Poll::Ready(Ok(()))
    }
}

/// Hands on what belongs to messages that are framed well; how much of `bytes` was dealt with.
fn hand_on(framing: Option<&Framing>, bytes: &[u8], out: &mut ReadBufCursor<'_>) -> usize {
    let Some(framing) = framing else {
        out.put_slice(bytes);
        return bytes.len();
    };
    let (good, rest) = bytes.split_at(framing.inspect(bytes));
    out.put_slice(good);
    if framing.is_broken() && !rest.is_empty() {
        // Hyper answers 400 to it, after whatever it still has to answer, and closes.
        out.put_slice(b"\0");
        return bytes.len();
    }
    good.len()
}

fn poll_read_socket(wire: &mut Wire, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    match wire {
        Wire::Socket(socket) => Pin::new(socket.stream_mut()).poll_read(cx, buffer),
        Wire::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        Wire::Tunnel(_) => Poll::Ready(Ok(())),
    }
}

impl HeadTimer {
    /// Runs while a head has begun and not ended.
    fn poll(&mut self, within_head: bool, cx: &mut Context<'_>) -> Poll<()> {
        if !within_head || self.limit.is_zero() {
            self.running = None;
            return Poll::Pending;
        }
        let limit = self.limit;
        let running = self.running.get_or_insert_with(|| Box::pin(sleep(limit)));
        running.as_mut().poll(cx)
    }
}

impl hyper::rt::Read for HttpIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(gone) = &mut this.gone
            && gone.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let polled = this.poll_inspected(cx, &mut out);
        let within_head = this.framing.as_ref().is_some_and(|framing| framing.within_head());
        match this.head.poll(within_head && polled.is_pending(), cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => polled,
        }
    }
}

impl hyper::rt::Write for HttpIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Socket(socket) => Pin::new(socket.stream_mut()).poll_write(cx, bytes),
            Wire::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
            Wire::Tunnel(stream) => poll_send(stream, cx, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Socket(socket) => Pin::new(socket.stream_mut()).poll_write_vectored(cx, slices),
            Wire::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
            Wire::Tunnel(stream) => poll_send(stream, cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Tls(tls) => Pin::new(tls).poll_flush(cx),
            // A socket keeps nothing back, and a tunnel's connection is flushed by its own task.
            Wire::Socket(_) | Wire::Tunnel(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_end(cx)
    }
}

/// Sends as one frame what there is credit for.
fn poll_send(
    stream: &mut TunnelStream,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let wanted = slices.iter().map(|slice| slice.len()).sum::<usize>().min(CHUNK);
    if wanted == 0 {
        return Poll::Ready(Ok(0));
    }
    stream.send.reserve_capacity(wanted);
    while stream.send.capacity() == 0 {
        match ready!(stream.send.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
    let length = wanted.min(stream.send.capacity());
    let mut frame = BytesMut::with_capacity(length);
    for slice in slices {
        let room = (length - frame.len()).min(slice.len());
        frame.extend_from_slice(slice.get(..room).unwrap_or_default());
    }
    stream.send.send_data(frame.freeze(), false).map_err(io::Error::other)?;
    stream.send.reserve_capacity(0);
    Poll::Ready(Ok(length))
}
