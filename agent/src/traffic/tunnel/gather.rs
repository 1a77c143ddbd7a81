//! Frames of many streams leave together: in as few TLS records and system calls as their bytes need.
//!
//! h2 flushes behind every frame of more than 256 bytes. Here a flush waits until the connection has said all that it has
//! to say for now: a batch of small answers is one record and one write, and one packet for the other side to wake for.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::traffic::limits::RECORD;

/// From here on a write gains nothing by being copied.
const LARGE: usize = RECORD / 2;

thread_local! {
    /// What a worker's connections gather in: each has sent it off before the next one is polled, unless its socket is full.
    static SPARE: RefCell<BytesMut> = RefCell::default();
}

/// What h2 writes to.
#[derive(Debug)]
pub struct Gathered<S>(Rc<RefCell<Inner<S>>>);

/// Sends what has gathered; for whoever polls the connection.
#[derive(Debug)]
pub struct Outlet<S>(Rc<RefCell<Inner<S>>>);

#[derive(Debug)]
struct Inner<S> {
    stream: S,
    /// Written and not yet sent; holds no memory while it is empty.
    waiting: BytesMut,
}

/// Over a stream that is open.
pub fn gather<S>(stream: S) -> (Gathered<S>, Outlet<S>) {
    let inner = Rc::new(RefCell::new(Inner { stream, waiting: BytesMut::new() }));
    (Gathered(inner.clone()), Outlet(inner))
}

impl<S: AsyncWrite + Unpin> Outlet<S> {
    /// After every poll of the connection, with what that yielded.
    pub fn poll_after<T>(&self, polled: Poll<T>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if let Poll::Ready(ended) = polled {
            return Poll::Ready(Ok(ended));
        }
        match self.0.borrow_mut().poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.waiting.has_remaining() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.waiting.advance(written),
            }
        }
        if self.waiting.capacity() > 0 {
            let mut memory = std::mem::take(&mut self.waiting);
            memory.clear();
            SPARE.set(memory);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.waiting.len() + length > RECORD {
            ready!(self.poll_send(cx))?;
        }
        if length >= LARGE {
            ready!(self.poll_send(cx))?;
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        if self.waiting.capacity() == 0 {
            self.waiting = SPARE.take();
            self.waiting.reserve(RECORD);
        }
        slices.iter().for_each(|slice| self.waiting.extend_from_slice(slice));
        Poll::Ready(Ok(length))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Put off: see [`Outlet::poll_after`].
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Counts writes, and takes only so many bytes at once.
    #[derive(Debug, Default)]
    struct Sink {
        writes: Vec<Vec<u8>>,
        most: usize,
    }

    impl AsyncWrite for Sink {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.most);
            self.writes.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Sink {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn send<S: AsyncWrite + Unpin>(outlet: &Outlet<S>) {
        let mut polled = false;
        poll_fn(|cx| {
            let now = if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending };
            let after = outlet.poll_after(now, cx);
            cx.waker().wake_by_ref();
            after
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn what_is_written_in_one_poll_leaves_in_one_write() {
        let (mut gathered, outlet) = gather(Sink { most: RECORD, ..Sink::default() });
        for _ in 0..10 {
            gathered.write_all(&[1; 300]).await.unwrap();
            gathered.flush().await.unwrap();
        }
        assert!(outlet.0.borrow().stream.writes.is_empty());
        send(&outlet).await;
        assert_eq!(outlet.0.borrow().stream.writes, [vec![1; 3000]]);
        assert_eq!(outlet.0.borrow().waiting.capacity(), 0, "an idle connection holds no memory");
    }

    #[tokio::test]
    async fn nothing_overtakes_what_waits_and_the_end_sends_it() {
        let (mut gathered, outlet) = gather(Sink { most: 1000, ..Sink::default() });
        let small = [1; 300];
        let large: Vec<u8> = (0..LARGE).map(|at| at as u8).collect();
        gathered.write_all(&small).await.unwrap();
        gathered.write_all(&large).await.unwrap();
        gathered.write_all(&small).await.unwrap();
        gathered.shutdown().await.unwrap();
        let sent = outlet.0.borrow().stream.writes.concat();
        assert_eq!(sent, [&small[..], &large, &small].concat());
        assert_eq!(gathered.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
