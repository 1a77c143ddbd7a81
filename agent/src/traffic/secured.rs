//! An opaque connection inside TLS that the agent originated: what the client sends leaves encrypted.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::tcp;
use tokio_rustls::client::TlsStream;
use tokio_util::io::poll_read_buf;

use super::arena::Arena;
use super::copy::{Broken, Tally, both};
use super::limits::CHUNK;
use super::socket::Socket;
use crate::http::Wire;
use crate::http::upgrade::Duplex;

/// Read before anybody knows what is spoken.
const AHEAD: usize = 4 * 1024;

type Stream = Box<TlsStream<Duplex>>;

/// The far end.
#[derive(Debug)]
pub(super) struct Secured {
    stream: Stream,
    /// Decrypted and not yet handed on.
    ahead: BytesMut,
}

impl Secured {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, ahead: BytesMut::new() }
    }

    /// Ready when the server has something to say, or has ended.
    pub(super) fn poll_speaks(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ahead.is_empty() {
            // Tickets and the like come before anything is said: only what is decrypted counts.
            self.ahead.reserve(AHEAD);
            drop(ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.ahead)));
        }
        Poll::Ready(())
    }

    /// Sends what was read of the client to find out what is spoken.
    pub(super) async fn send_first(&mut self, first: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(first).await?;
        self.stream.flush().await
    }

    /// As what carries HTTP.
    pub(super) fn into_wire(self) -> Wire {
        Wire::Tls(self.stream)
    }

    /// Both directions have ended.
    pub(super) fn finish(self) {
        self.stream.into_inner().0.finish();
    }
}

/// Between an application's socket and TLS. An end without a goodbye may be an attacker's: it is a reset, not an end.
///
/// # Errors
/// One end broke; both are to be reset.
pub(super) async fn copy(
    near: &mut Socket,
    far: &mut Secured,
    arena: &Arena,
    tally: Tally<'_>,
    idle: Duration,
) -> Result<(), Broken> {
    let ahead = far.ahead.split().freeze();
    let (mut near_read, mut near_write) = near.split();
    let (mut far_read, mut far_write) = tokio::io::split(&mut far.stream);
    let up = pin!(encrypt(&mut near_read, &mut far_write, arena, tally));
    let down = pin!(decrypt(ahead, &mut far_read, &mut near_write, tally));
    both(up, down, tally.meter, idle).await
}

async fn encrypt(
    from: &mut tcp::ReadHalf<'_>,
    to: &mut WriteHalf<&mut Stream>,
    arena: &Arena,
    tally: Tally<'_>,
) -> Result<(), Broken> {
    loop {
        let read = std::future::poll_fn(|cx| arena.poll_read(from, CHUNK, cx));
        let bytes = read.await.map_err(Broken::Socket)?;
        if bytes.is_empty() {
            return to.shutdown().await.map_err(Broken::Far);
        }
        to.write_all(&bytes).await.map_err(Broken::Far)?;
        to.flush().await.map_err(Broken::Far)?;
        tally.from_socket.set(tally.from_socket.get() + bytes.len() as u64);
    }
}

async fn decrypt(
    ahead: Bytes,
    from: &mut ReadHalf<&mut Stream>,
    to: &mut (impl AsyncWrite + Unpin),
    tally: Tally<'_>,
) -> Result<(), Broken> {
    let mut bytes = BytesMut::from(ahead);
    loop {
        if !bytes.is_empty() {
            to.write_all(&bytes).await.map_err(Broken::Socket)?;
            tally.to_socket.set(tally.to_socket.get() + bytes.len() as u64);
            bytes.clear();
        }
        bytes.reserve(CHUNK);
        if from.read_buf(&mut bytes).await.map_err(Broken::Far)? == 0 {
            return to.shutdown().await.map_err(Broken::Socket);
        }
    }
}
