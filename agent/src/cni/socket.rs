//! The socket that plugins ask at: root's own, and one agent's at a time.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;

/// Why nobody can ask this agent.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Two agents on one node would undo each other's work.
    #[error("another agent runs on this node: it holds {0}")]
    Taken(PathBuf),
    /// The system refused.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// A bound socket, and the lock that says whose it is.
#[derive(Debug)]
pub struct Listening {
    pub(super) listener: UnixListener,
    _lock: Flock<File>,
}

/// Binds, in place of what an agent that ended left.
///
/// # Errors
/// See [`SocketError`].
pub fn listen(path: &Path) -> Result<Listening, SocketError> {
    let failed = |error: io::Error| SocketError::Io(path.to_owned(), error);
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
    }
    let lock = path.with_extension("lock");
    let file =
        File::options().write(true).create(true).truncate(false).mode(0o600).open(&lock).map_err(failed)?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::Error::EWOULDBLOCK => SocketError::Taken(lock.clone()),
        other => SocketError::Io(lock.clone(), other.into()),
    })?;
    // Under another name first, so that nobody connects before the mode is right.
    let temporary = path.with_extension("new");
    let _leftover = fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).map_err(failed)?;
    let ready = fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&temporary, path));
    ready.map_err(failed)?;
    Ok(Listening { listener, _lock: lock })
}
