//! Behind an answer that switched protocols (WebSocket, CONNECT): bytes both ways until both have ended.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::exchange::Exchange;
use super::io::{HttpIo, Wire};
use crate::telemetry::{Failure, Reason};

/// The other end of a connection that switches protocols.
#[derive(Debug)]
pub struct Crossing {
    /// The upstream's wire, as soon as hyper gives it back.
    pub wire: oneshot::Receiver<(Wire, Bytes)>,
    /// What is kept until the end: a place in a pool, say.
    pub kept: Box<dyn Any>,
    /// The request that asked for it.
    pub exchange: Rc<Exchange>,
}

/// Copies until both directions have ended.
///
/// # Errors
/// One end broke.
pub async fn cross(near: (Wire, Bytes), crossing: Crossing) -> Result<(), Failure> {
    let mut near = Duplex::new(near);
    let result = cross_with(&mut near, crossing).await;
    if result.is_ok() {
        near.io.close().await;
    }
    result
}

/// The same with whatever can be read and written.
///
/// # Errors
/// One end broke.
pub async fn cross_with(
    near: &mut (impl AsyncRead + AsyncWrite + Unpin),
    crossing: Crossing,
) -> Result<(), Failure> {
    let Crossing { wire, kept, exchange } = crossing;
    let broken = |error: &dyn std::fmt::Display| Failure::new(Reason::ServerReset, error);
    let far = wire.await.map_err(|gone| broken(&gone))?;
    let mut far = Duplex::new(far);
    let copied = tokio::io::copy_bidirectional(near, &mut far).await;
    drop(kept);
    let result = match copied {
        Ok((up, down)) => {
            exchange.received.set(up);
            exchange.record().sent = down;
            Ok(())
        }
        Err(error) => Err(broken(&error)),
    };
    exchange.conclude();
    if result.is_ok() {
        far.io.close().await;
    }
    result
}

/// A wire, read and written as tokio does, with what was received of it already.
pub struct Duplex {
    io: HttpIo,
    first: Bytes,
}

impl Duplex {
    /// Of what hyper gave back.
    pub fn new((wire, first): (Wire, Bytes)) -> Self {
        Self { io: HttpIo::client(wire), first }
    }

    /// Our address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.io.local_addr()
    }

    /// Both directions have ended.
    pub fn finish(self) {
        self.io.finish();
    }
}

impl AsyncRead for Duplex {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            let part = this.first.len().min(out.remaining());
            out.put_slice(this.first.get(..part).unwrap_or_default());
            this.first.advance(part);
            return Poll::Ready(Ok(()));
        }
        let mut buffer = hyper::rt::ReadBuf::new(out.initialize_unfilled());
        std::task::ready!(hyper::rt::Read::poll_read(Pin::new(&mut this.io), cx, buffer.unfilled()))?;
        let read = buffer.filled().len();
        out.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        hyper::rt::Write::poll_write(Pin::new(&mut self.get_mut().io), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_flush(Pin::new(&mut self.get_mut().io), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_shutdown(Pin::new(&mut self.get_mut().io), cx)
    }
}

impl std::fmt::Debug for Duplex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Duplex").field("first", &self.first.len()).finish_non_exhaustive()
    }
}
