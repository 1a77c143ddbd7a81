//! HBONE, as ztunnel speaks it: streams are HTTP/2 CONNECT requests over mTLS to the destination pod's port 15008.
//!
//! ```text
//! outbound ─► pool ─► client ══ TLS 1.3, HTTP/2 ══ server ─► connect (is the request one?) ─► inbound
//! ```

pub mod client;
pub mod connect;
pub mod pool;
pub mod server;

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
    /// On the side that opened it: its place on a pooled connection.
    _lease: Option<Lease>,
}

impl TunnelStream {
    /// A stream whose CONNECT was answered with 200.
    pub fn new(send: SendStream<Bytes>, receive: RecvStream, lease: Option<Lease>) -> Self {
        Self { send, receive, finished: false, _lease: lease }
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
