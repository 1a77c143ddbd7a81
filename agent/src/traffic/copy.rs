//! Copies both ways until both have ended: half-close, reset and back-pressure cross unchanged.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::TryFutureExt;
use h2::RecvStream;
use h2::SendStream;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::time::timeout;

use super::arena::Arena;
use super::limits::CHUNK;
use super::socket::Socket;
use super::tunnel::TunnelStream;
use crate::telemetry::{Failure, Meter, Reason};

/// Which end broke a connection that had not ended.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The end that was accepted or dialled as a socket: an application's.
    #[error("socket: {0}")]
    Socket(io::Error),
    /// The far end: the tunnel, or the other socket.
    #[error("far end: {0}")]
    Far(io::Error),
    /// One direction had ended, and the other was silent for too long.
    #[error("silent after half-close")]
    Idle,
}

/// Bytes of one direction each, seen from the socket.
#[derive(Clone, Copy, Debug)]
pub struct Tally<'a> {
    /// Read from the socket.
    pub from_socket: &'a Cell<u64>,
    /// Written to the socket.
    pub to_socket: &'a Cell<u64>,
    /// Both.
    pub meter: &'a Meter,
}

impl<'a> Tally<'a> {
    /// The socket is the client.
    pub fn client(meter: &'a Meter) -> Self {
        Self { from_socket: &meter.received, to_socket: &meter.sent, meter }
    }

    /// The socket is the server.
    pub fn server(meter: &'a Meter) -> Self {
        Self { from_socket: &meter.sent, to_socket: &meter.received, meter }
    }
}

/// Between an application's socket and a stream of a tunnel.
///
/// # Errors
/// One end broke; both are to be reset.
pub async fn tunnelled(
    socket: &mut Socket,
    stream: &mut TunnelStream,
    arena: &Arena,
    tally: Tally<'_>,
    idle: Duration,
) -> Result<(), Broken> {
    let (mut read, write) = socket.split();
    let up = pin!(socket_to_stream(&mut read, &mut stream.send, arena, tally.from_socket));
    let down = pin!(stream_to_socket(&mut stream.receive, write.as_ref(), tally.to_socket));
    both(up, down, tally.meter, idle).await
}

/// Between two sockets.
///
/// # Errors
/// One end broke; both are to be reset.
pub async fn plain(
    near: &mut Socket,
    far: &mut Socket,
    arena: &Arena,
    tally: Tally<'_>,
    idle: Duration,
) -> Result<(), Broken> {
    let (mut near_read, near_write) = near.split();
    let (mut far_read, far_write) = far.split();
    let up = socket_to_socket(&mut near_read, far_write.as_ref(), arena, tally.from_socket);
    let down = socket_to_socket(&mut far_read, near_write.as_ref(), arena, tally.to_socket);
    let up = pin!(up.map_err(|broken| broken.map(Broken::Socket, Broken::Far)));
    let down = pin!(down.map_err(|broken| broken.map(Broken::Far, Broken::Socket)));
    both(up, down, tally.meter, idle).await
}

/// Copies until it has ended, no byte has passed for `idle`, or `age` is over.
///
/// # Errors
/// Of the copying, or time is over.
pub async fn within(
    copying: impl Future<Output = Result<(), Failure>> + Unpin,
    meter: &Meter,
    idle: Option<Duration>,
    age: Option<Duration>,
) -> Result<(), Failure> {
    let copying = async {
        match idle {
            Some(idle) => while_progressing(copying, meter, idle, || Reason::Idle.into()).await,
            None => copying.await,
        }
    };
    match age {
        Some(age) => timeout(age, copying).await.unwrap_or(Err(Reason::TooOld.into())),
        None => copying.await,
    }
}

/// Pinned futures, because an `async fn` keeps what it is given twice: an idle connection pays for it.
pub(super) async fn both(
    mut up: Pin<&mut impl Future<Output = Result<(), Broken>>>,
    mut down: Pin<&mut impl Future<Output = Result<(), Broken>>>,
    meter: &Meter,
    idle: Duration,
) -> Result<(), Broken> {
    tokio::select! {
        ended = &mut up => {
            ended?;
            // Boxed, as everything with a timer here: a connection that is open both ways has no room for it.
            Box::pin(while_progressing(down, meter, idle, || Broken::Idle)).await
        }
        ended = &mut down => {
            ended?;
            Box::pin(while_progressing(up, meter, idle, || Broken::Idle)).await
        }
    }
}

/// Waits as long as bytes keep coming.
async fn while_progressing<E>(
    mut rest: impl Future<Output = Result<(), E>> + Unpin,
    meter: &Meter,
    idle: Duration,
    silent: impl Fn() -> E,
) -> Result<(), E> {
    loop {
        let before = meter.total();
        match timeout(idle, &mut rest).await {
            Ok(ended) => return ended,
            Err(_elapsed) if meter.total() == before => return Err(silent()),
            Err(_elapsed) => {}
        }
    }
}

/// Reads no more than the stream has room for: whoever does not read at the far end stops the application here.
async fn socket_to_stream(
    from: &mut ReadHalf<'_>,
    to: &mut SendStream<Bytes>,
    arena: &Arena,
    count: &Cell<u64>,
) -> Result<(), Broken> {
    loop {
        poll_fn(|cx| poll_readable(from, to, cx)).await?;
        // Room is asked for only now: what an idle stream had reserved would be lost to the others.
        to.reserve_capacity(CHUNK);
        let room = room(from, to).await?;
        let read = poll_fn(|cx| match arena.poll_read(from, room, cx) {
            // Woken for nothing. Give the room back, and wait like the idle.
            Poll::Pending => Poll::Ready(None),
            Poll::Ready(read) => Poll::Ready(Some(read)),
        });
        let Some(read) = read.await else {
            to.reserve_capacity(0);
            continue;
        };
        let bytes = read.map_err(Broken::Socket)?;
        let end = bytes.is_empty();
        count.set(count.get() + bytes.len() as u64);
        to.send_data(bytes, end).map_err(far)?;
        if end {
            return Ok(());
        }
        to.reserve_capacity(0);
    }
}

/// Ready when the socket has something to read, broken when the far end resets the stream.
fn poll_readable(
    from: &ReadHalf<'_>,
    to: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Broken>> {
    poll_reset(to, cx)?;
    from.as_ref().poll_read_ready(cx).map_err(Broken::Socket)
}

fn poll_reset(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Result<(), Broken> {
    match stream.poll_reset(cx) {
        Poll::Pending => Ok(()),
        Poll::Ready(Ok(reason)) => Err(far(reason.into())),
        Poll::Ready(Err(error)) => Err(far(error)),
    }
}

/// Room on the stream. To wait for it takes more memory than an idle connection should have.
async fn room(from: &ReadHalf<'_>, to: &mut SendStream<Bytes>) -> Result<usize, Broken> {
    match to.capacity() {
        0 => Box::pin(wait_for_room(from, to)).await,
        now => Ok(now),
    }
}

/// Waits for room on the stream. An application that resets its connection meanwhile is noticed: bytes that wait
/// before the error would hide it from a read that does not happen.
async fn wait_for_room(from: &ReadHalf<'_>, to: &mut SendStream<Bytes>) -> Result<usize, Broken> {
    let room = poll_fn(|cx| {
        poll_reset(to, cx)?;
        match ready!(to.poll_capacity(cx)) {
            Some(Ok(room)) => Poll::Ready(Ok(room)),
            Some(Err(error)) => Poll::Ready(Err(far(error))),
            None => Poll::Ready(Err(Broken::Far(io::ErrorKind::ConnectionReset.into()))),
        }
    });
    tokio::select! {
        biased;
        room = room => room,
        _ = from.ready(Interest::ERROR) => {
            let error = from.as_ref().take_error().ok().flatten();
            Err(Broken::Socket(error.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())))
        }
    }
}

/// Gives credit back only for what the application's socket has taken.
async fn stream_to_socket(from: &mut RecvStream, to: &TcpStream, count: &Cell<u64>) -> Result<(), Broken> {
    while let Some(bytes) = from.data().await {
        let bytes = bytes.map_err(far)?;
        let length = bytes.len();
        write_all(to, bytes).await.map_err(Broken::Socket)?;
        count.set(count.get() + length as u64);
        from.flow_control().release_capacity(length).map_err(far)?;
    }
    shutdown(to).map_err(Broken::Socket)
}

/// Which of two sockets failed.
enum Side {
    Reading(io::Error),
    Writing(io::Error),
}

impl Side {
    fn map(self, reading: fn(io::Error) -> Broken, writing: fn(io::Error) -> Broken) -> Broken {
        match self {
            Self::Reading(error) => reading(error),
            Self::Writing(error) => writing(error),
        }
    }
}

async fn socket_to_socket(
    from: &mut ReadHalf<'_>,
    to: &TcpStream,
    arena: &Arena,
    count: &Cell<u64>,
) -> Result<(), Side> {
    loop {
        let bytes = poll_fn(|cx| arena.poll_read(from, CHUNK, cx)).await.map_err(Side::Reading)?;
        if bytes.is_empty() {
            return shutdown(to).map_err(Side::Writing);
        }
        let length = bytes.len();
        write_all(to, bytes).await.map_err(Side::Writing)?;
        count.set(count.get() + length as u64);
    }
}

async fn write_all(to: &TcpStream, mut bytes: Bytes) -> io::Result<()> {
    while bytes.has_remaining() {
        match to.try_write(&bytes) {
            Ok(written) => bytes.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| to.poll_write_ready(cx)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn shutdown(socket: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Write)
}

fn far(error: h2::Error) -> Broken {
    Broken::Far(io::Error::other(error))
}
