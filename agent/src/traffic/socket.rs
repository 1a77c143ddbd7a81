//! An application's or tunnel's TCP socket: unless it was finished, dropping it resets the connection.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio_util::io::poll_read_buf;

use super::limits::{Descriptor, READ_AHEAD};

/// `tcpKeepalive`: time, interval, probes.
pub type Keepalive = (Option<Duration>, Option<Duration>, Option<u32>);

/// Silence after which the kernel asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long data may stay unacknowledged before the connection counts as dead.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// Looked at without being read: the first flight of a TLS client is longer than that of others.
const PEEKED: usize = 16 * 1024;

/// A socket that cannot end in silence: whatever cuts its task short (an error, a panic, a revocation) becomes a RST,
/// so that data that was cut off never looks complete.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    _room: Descriptor,
    finished: bool,
}

impl Socket {
    /// Takes a connected socket; small writes leave at once.
    ///
    /// # Errors
    /// The socket is dead already.
    pub fn new(stream: TcpStream, room: Descriptor) -> io::Result<Self> {
        let socket = Self { stream, _room: room, finished: false };
        socket.stream.set_nodelay(true)?;
        Ok(socket)
    }

    /// Has the kernel notice a peer that went away without a word.
    ///
    /// # Errors
    /// The socket is dead already.
    pub fn keep_alive(&self) -> io::Result<()> {
        let socket = SockRef::from(&self.stream);
        let interval = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3).with_retries(3);
        socket.set_tcp_keepalive(&interval)?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
    }

    /// The same as somebody asks for it; what is left out is the kernel's.
    ///
    /// # Errors
    /// The socket is dead already.
    pub fn keep_alive_as(&self, (time, interval, probes): Keepalive) -> io::Result<()> {
        let mut wanted = TcpKeepalive::new();
        if let Some(time) = time {
            wanted = wanted.with_time(time);
        }
        if let Some(interval) = interval {
            wanted = wanted.with_interval(interval);
        }
        if let Some(probes) = probes {
            wanted = wanted.with_retries(probes);
        }
        SockRef::from(&self.stream).set_tcp_keepalive(&wanted)
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Ready when there is something to read, an end or an error among it; it stays to be read.
    pub fn poll_speaks(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut byte = [0; 1];
        self.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)).map(drop)
    }

    /// Ends when there is something to read, an end or an error among it.
    pub async fn speaks(&self) {
        drop(self.stream.readable().await);
    }

    /// Shows what there is to read; it stays to be read.
    pub async fn peek<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        let mut bytes = vec![0; PEEKED];
        let there = self.stream.peek(&mut bytes).await.unwrap_or(0);
        look(bytes.get(..there).unwrap_or_default())
    }

    /// The socket, to read and write.
    pub fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Its two directions.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        self.stream.split()
    }

    /// Both directions have ended: closing it now resets nothing.
    pub fn finish(mut self) {
        self.finished = true;
    }

    /// The address at our end.
    ///
    /// # Errors
    /// The socket is dead already.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Hands the stream to a protocol that ends it by itself (TLS with its own goodbye).
    pub fn into_tunnel(mut self) -> TunnelSocket {
        self.finished = true;
        TunnelSocket { socket: self, ahead: Bytes::new() }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.finished {
            reset_on_close(&self.stream);
        }
    }
}

/// Makes the coming close a RST.
pub fn reset_on_close(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "connection could not be reset");
    }
}

/// A socket under TLS. It reads ahead: TLS asks for a record at a time, or for 4 KiB, and would make as many calls.
#[derive(Debug)]
pub struct TunnelSocket {
    socket: Socket,
    /// Read and not yet asked for; holds no memory while it is empty.
    ahead: Bytes,
}

thread_local! {
    /// Where all tunnels of a worker read. What TLS does not take at once moves to the tunnel without a copy, and the
    /// memory comes back when it has been taken.
    static INCOMING: RefCell<BytesMut> = RefCell::default();
}

impl AsyncRead for TunnelSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return INCOMING.with_borrow_mut(|incoming| this.read(incoming, cx, buffer));
        }
        let taken = this.ahead.split_to(buffer.remaining().min(this.ahead.len()));
        buffer.put_slice(&taken);
        if this.ahead.is_empty() {
            this.ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl TunnelSocket {
    fn read(
        &mut self,
        incoming: &mut BytesMut,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        incoming.reserve(READ_AHEAD);
        let mut room = (&mut *incoming).limit(READ_AHEAD);
        let read = ready!(poll_read_buf(Pin::new(&mut self.socket.stream), cx, &mut room))?;
        if read <= buffer.remaining() {
            buffer.put_slice(incoming);
            incoming.clear();
            return Poll::Ready(Ok(()));
        }
        self.ahead = incoming.split().freeze();
        buffer.put_slice(&self.ahead.split_to(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket.stream).poll_shutdown(cx)
    }
}
