//! HBONE, as ztunnel speaks it: streams are HTTP/2 CONNECT requests over mTLS to the destination pod's port 15008.
//!
//! ```text
//! outbound ─► pool ─► client ══ TLS 1.3, HTTP/2 ══ server ─► connect (is the request one?) ─► inbound
//! ```

pub mod client;
pub mod connect;
pub mod gather;
pub mod pool;
pub mod server;

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use pool::Lease;

/// Both directions of one tunnelled connection. Dropped before it was finished, it is reset: what was cut off never
/// looks complete at the other end.
#[derive(Debug)]
pub struct TunnelStream {
    /// Towards the other agent.
    pub send: SendStream<Bytes>,
    /// From the other agent.
    pub receive: RecvStream,
    finished: bool,
    /// Received before anybody read: see [`TunnelStream::poll_speaks`].
    ahead: Bytes,
    /// On the side that opened it: its place on a pooled connection.
    _lease: Option<Lease>,
}

impl TunnelStream {
    /// A stream whose CONNECT was answered with 200.
    pub fn new(send: SendStream<Bytes>, receive: RecvStream, lease: Option<Lease>) -> Self {
        Self { send, receive, finished: false, ahead: Bytes::new(), _lease: lease }
    }

    /// Ready when something was received, or nothing will be. What it was is in [`TunnelStream::take_ahead`].
    pub fn poll_speaks(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ahead.is_empty()
            && let Some(Ok(bytes)) = ready!(self.receive.poll_data(cx))
        {
            self.ahead = bytes;
        }
        // An error, and the end, come again to whoever reads.
        Poll::Ready(())
    }

    /// To be dealt with before anything else that is received, and its credit to be given back then.
    pub fn take_ahead(&mut self) -> Bytes {
        std::mem::take(&mut self.ahead)
    }

    /// Both directions have ended.
    pub fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        if !self.finished {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}
