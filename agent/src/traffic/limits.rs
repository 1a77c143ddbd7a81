//! Every deadline and every bound of traffic, in one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};

/// The payload of one TLS record (RFC 8446 section 5.1).
pub const RECORD: usize = 16 * 1024;
/// The header of an HTTP/2 frame (RFC 9113 section 4.1).
const FRAME_HEADER: usize = 9;
/// Read from a socket at once, at most; also what one stream may have waiting to be sent. With its frame header it fills
/// four TLS records to the byte, which is what rustls encrypts before it has to write.
pub const CHUNK: usize = 4 * RECORD - FRAME_HEADER;
/// HTTP/2 DATA payload that we accept in one frame: a chunk, so that it travels as one frame in one write.
pub const MAX_FRAME: u32 = CHUNK as u32;
/// Read from a tunnel's socket at once, at most.
pub const READ_AHEAD: usize = 64 * 1024 + 1024;
/// What a peer may send on one stream before the application has read it.
pub const STREAM_WINDOW: u32 = 1024 * 1024;
/// What it may send on all streams of a connection: enough for every stream's whole window, so that readers that
/// stop cannot starve the others (RFC 9113 section 5.2.2 leaves that to the implementation).
pub const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_PER_CONNECTION as u32;
/// Streams on one tunnel connection; the next one opens another connection. Istio's ztunnel keeps to 100 as well.
pub const STREAMS_PER_CONNECTION: usize = 100;
/// Decoded request headers of one CONNECT.
pub const MAX_HEADER_LIST: u32 = 8 * 1024;
/// Streams that a peer may reset before we have accepted them (rapid reset, CVE-2023-44487).
pub const MAX_PENDING_RESETS: usize = 100;
/// Streams that a peer may make us reset (CVE-2025-8671).
pub const MAX_LOCAL_RESETS: usize = 1024;
/// What small DATA frames may cost while nobody reads them: about 255 a frame. Honest chatty streams with a reader
/// that pauses stay below; the default (25,600) would cut a whole connection at a hundred unread bytes.
pub const SMALL_FRAME_BUDGET: usize = 16 * 1024 * 1024;

/// Deadlines and bounds that an operator or a test may want otherwise.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a connection to an unknown address of the cluster waits for the controller to name it.
    pub hold: Duration,
    /// From accept to the end of the TLS handshake, on either side.
    pub handshake: Duration,
    /// From the handshake to the first CONNECT.
    pub first_request: Duration,
    /// For one TCP connect.
    pub connect: Duration,
    /// From CONNECT to its answer: the other side's connect and a little.
    pub response: Duration,
    /// For the head of an HTTP request, from its first byte.
    pub http_head: Duration,
    /// How long an HTTP connection may be without a request (Envoy's bound).
    pub http_idle: Duration,
    /// How long the other direction may be silent once one has finished.
    pub half_closed_idle: Duration,
    /// How long a client has to show that it speaks HTTP, where policies ask something of requests and the port says nothing.
    pub first_bytes: Duration,
    /// How long a tunnel without streams is kept by the side that opened it. The other side waits twice as long.
    pub tunnel_idle: Duration,
    /// Between two looks at idle tunnels and long-lived connections' byte counts.
    pub sweep: Duration,
    /// From Drain to the end.
    pub drain: Duration,
    /// Connections of one pod on one worker.
    pub pod_connections: usize,
    /// Handshakes in flight of one pod on one worker.
    pub pod_handshakes: usize,
    /// Sockets of traffic in the whole process.
    pub descriptors: Descriptors,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(5),
            handshake: Duration::from_secs(5),
            first_request: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            response: Duration::from_secs(10),
            http_head: Duration::from_secs(15),
            http_idle: Duration::from_secs(3600),
            half_closed_idle: Duration::from_secs(300),
            first_bytes: Duration::from_secs(5),
            tunnel_idle: Duration::from_secs(180),
            sweep: Duration::from_secs(5),
            drain: Duration::from_secs(30),
            pod_connections: 16 * 1024,
            pod_handshakes: 512,
            descriptors: Descriptors::of_process(),
        }
    }
}

/// A budget of file descriptors, shared by all workers. What is left over belongs to control, admin and the kernel side.
#[derive(Clone, Debug)]
pub struct Descriptors {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl Descriptors {
    /// Four fifths of what the process may open.
    pub fn of_process() -> Self {
        let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        Self::of(usize::try_from(soft).unwrap_or(usize::MAX) / 5 * 4)
    }

    /// This many.
    pub fn of(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Room for a connection that was accepted. A quarter of the budget is kept for dialling: a process full of
    /// clients that it cannot connect to anything would serve nobody.
    pub fn take_for_accept(&self) -> Option<Descriptor> {
        self.take_below(self.most - self.most / 4)
    }

    /// Room for a connection that is dialled.
    pub fn take_for_dial(&self) -> Option<Descriptor> {
        self.take_below(self.most)
    }

    fn take_below(&self, most: usize) -> Option<Descriptor> {
        if self.taken.fetch_add(1, Ordering::Relaxed) >= most {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Descriptor(self.taken.clone()))
    }
}

/// Room for one socket; given back when dropped.
#[derive(Debug)]
pub struct Descriptor(Arc<AtomicUsize>);

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
