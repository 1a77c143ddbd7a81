//! The buffer that every connection of a worker reads into: nobody holds one while idle.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::net::tcp::ReadHalf;
use tokio_util::io::poll_read_buf;

use super::limits::CHUNK;

/// Reads up to this size are copied out, so that a few bytes that wait for a slow reader never pin a whole buffer.
const COPIED: usize = 4 * 1024;

/// One worker's read buffer. What is read is handed on without a copy once it is worth it.
#[derive(Debug, Default)]
pub struct Arena(RefCell<BytesMut>);

impl Arena {
    /// Reads what there is, at most `room` bytes; empty at the end of the stream.
    pub fn poll_read(
        &self,
        from: &mut ReadHalf<'_>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        let mut buffer = self.0.borrow_mut();
        let room = room.min(CHUNK);
        buffer.reserve(room);
        let read = ready!(poll_read_buf(Pin::new(from), cx, &mut (&mut *buffer).limit(room)))?;
        if read > COPIED {
            return Poll::Ready(Ok(buffer.split().freeze()));
        }
        let bytes = Bytes::copy_from_slice(&buffer);
        buffer.clear();
        Poll::Ready(Ok(bytes))
    }

    /// Gives the memory back; the next read takes new.
    pub fn release(&self) {
        *self.0.borrow_mut() = BytesMut::new();
    }
}
