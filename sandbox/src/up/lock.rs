//! One daemon a name: a lock that ends with its process.
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Held for as long as the sandbox exists.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

/// None: somebody else holds it.
pub(super) fn take(name: &str) -> io::Result<Option<Lock>> {
    let folder = Path::new("/run/heddle");
    std::fs::create_dir_all(folder)?;
    // Beside the sandbox's directory, which goes while the lock is still held.
    let path = folder.join(format!(".{name}.lock"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Some(Lock { path, _file: file })),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Best effort: a lock file that stays is taken again by the next sandbox of the name.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.path.parent().map(std::fs::remove_dir);
    }
}
