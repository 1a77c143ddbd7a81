//! A client's first bytes, read before it is known what they are part of; they go on with the connection.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::socket::Socket;
use crate::http::Wire;
use crate::http::sniff::{Spoken, sniff};
use crate::telemetry::{Failure, Reason};

/// What is looked at, at most.
const MOST: usize = 8 * 1024;

/// What came, and what it shows.
#[derive(Debug)]
pub(super) struct Peeked {
    pub(super) first: Bytes,
    pub(super) spoken: Spoken,
}

/// How long a client that has begun may take to show what it speaks, where bytes may pass too.
const BEGUN: Duration = Duration::from_millis(500);

/// Reads until it can be said what the client speaks. The end of its sending is an answer too; `More` is what began and
/// did not go on within `begun`.
pub(super) async fn spoken(near: &mut Wire, begun: Duration) -> Result<Peeked, Failure> {
    look(near, begun, std::future::pending()).await
}

/// The same, unless the application speaks first: then it is nothing that waits for requests.
pub(super) async fn race(near: &mut Wire, app: &Socket) -> Result<Peeked, Failure> {
    // Its end, or an error, is for the copy to find.
    let speaks = app.stream().ready(Interest::READABLE | Interest::ERROR);
    look(near, BEGUN, async { drop(speaks.await) }).await
}

async fn look(near: &mut Wire, limit: Duration, other: impl Future<Output = ()>) -> Result<Peeked, Failure> {
    let mut first = BytesMut::new();
    let mut other = pin!(other);
    let mut late = pin!(sleep(limit));
    loop {
        let begun = !first.is_empty();
        let bytes = tokio::select! {
            biased;
            bytes = read(near) => bytes.map_err(|error| Failure::new(Reason::ClientReset, &error))?,
            () = &mut other => return Ok(Peeked { first: first.freeze(), spoken: Spoken::Other }),
            () = &mut late, if begun => return Ok(Peeked { first: first.freeze(), spoken: Spoken::More }),
        };
        if !begun {
            late.as_mut().reset(Instant::now() + limit);
        }
        let end = bytes.is_empty();
        first.extend_from_slice(&bytes);
        match sniff(&first) {
            Spoken::More if end || first.len() >= MOST => {
                return Ok(Peeked { first: first.freeze(), spoken: Spoken::Other });
            }
            Spoken::More => {}
            spoken => return Ok(Peeked { first: first.freeze(), spoken }),
        }
    }
}

/// Some bytes; none at the end. Credit for a tunnel's is given back when they were taken.
async fn read(near: &mut Wire) -> io::Result<Bytes> {
    match near {
        Wire::Tunnel(stream) => loop {
            match stream.receive.data().await {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(bytes) => return bytes.map_err(io::Error::other),
                None => return Ok(Bytes::new()),
            }
        },
        Wire::Socket(socket) => {
            let mut buffer = BytesMut::zeroed(MOST);
            loop {
                socket.stream().readable().await?;
                match socket.stream().try_read(&mut buffer) {
                    Ok(read) => {
                        buffer.truncate(read);
                        return Ok(buffer.freeze());
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Wire::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// What was read first has gone on.
pub(super) fn taken(near: &mut Wire, length: usize) {
    if let Wire::Tunnel(stream) = near {
        // It fails only for more than was received.
        drop(stream.receive.flow_control().release_capacity(length));
    }
}

/// Sends bytes to the client.
pub(super) async fn answer(near: &mut Wire, mut bytes: Bytes) -> io::Result<()> {
    match near {
        Wire::Socket(socket) => write_all(socket.stream(), bytes).await,
        Wire::Tunnel(stream) => {
            while bytes.has_remaining() {
                stream.send.reserve_capacity(bytes.len());
                let room = match stream.send.capacity() {
                    0 => match poll_fn(|cx| stream.send.poll_capacity(cx)).await {
                        Some(room) => room.map_err(io::Error::other)?,
                        None => return Err(io::ErrorKind::ConnectionReset.into()),
                    },
                    room => room,
                };
                let part = bytes.split_to(room.min(bytes.len()));
                stream.send.send_data(part, false).map_err(io::Error::other)?;
            }
            stream.send.reserve_capacity(0);
            Ok(())
        }
        Wire::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Sends bytes to a socket.
pub(super) async fn write_all(to: &TcpStream, mut bytes: Bytes) -> io::Result<()> {
    while bytes.has_remaining() {
        match to.try_write(&bytes) {
            Ok(written) => bytes.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
