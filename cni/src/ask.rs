//! A question to the agent, and its answer; only root's own socket is asked, and only root is believed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::{PeerCredentials, SendTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket,
};
use nix::sys::time::TimeVal;

use crate::protocol::{Answer, MAX_LINE, Request};
use crate::trust::{self, Distrust};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No agent listens.
    #[error("no agent listens at {0}")]
    Away(String),
    /// Somebody else may.
    #[error("{0}")]
    Untrusted(String),
    /// The agent ended, was too slow, or said what is no answer.
    #[error("the agent at {0} {1}")]
    Broken(String, String),
}

/// Asks.
///
/// # Errors
/// See [`AskError`].
pub fn ask(path: &Path, request: &Request, within: Duration) -> Result<Answer, AskError> {
    let name = || path.display().to_string();
    let deadline = Instant::now() + within;
    match trust::socket(path) {
        Ok(()) => {}
        Err(Distrust::Absent(_)) => return Err(AskError::Away(name())),
        Err(error) => return Err(AskError::Untrusted(error.to_string())),
    }
    let stream = match dial(path, within) {
        Ok(stream) => stream,
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind()) => {
            return Err(AskError::Away(name()));
        }
        Err(error) => return Err(AskError::Broken(name(), format!("takes no connection: {error}"))),
    };
    let broken = |error: io::Error| AskError::Broken(name(), describe(&error, within));
    let peer = getsockopt(&stream, PeerCredentials).map_err(|error| broken(error.into()))?;
    if peer.uid() != 0 {
        return Err(AskError::Untrusted(format!("{} is served by user {}, not by root", name(), peer.uid())));
    }
    let line = converse(stream, request, deadline).map_err(broken)?;
    serde_json::from_slice(&line)
        .map_err(|error| AskError::Broken(name(), format!("gave no answer: {error}")))
}

/// The deadline must hold for `connect` too: it waits while the agent's queue is full.
fn dial(path: &Path, within: Duration) -> io::Result<UnixStream> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let seconds = i64::try_from(within.as_secs()).unwrap_or(i64::MAX).max(1);
    setsockopt(&socket, SendTimeout, &TimeVal::new(seconds, 0))?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket.into())
}

fn converse(mut stream: UnixStream, request: &Request, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut question = serde_json::to_vec(request)?;
    question.push(b'\n');
    stream.write_all(&question)?;
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    let mut line = Vec::new();
    BufReader::new(stream).take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line)
}

fn describe(error: &io::Error, within: Duration) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("does not answer within {within:?}"),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            "ended before it answered".to_owned()
        }
        _ => format!("cannot be asked: {error}"),
    }
}
