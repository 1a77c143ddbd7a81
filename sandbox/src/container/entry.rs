//! How a process enters a container: all that `sandbox-node enter` needs, as a file.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The description of one container's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub cgroup: PathBuf,
    /// Paths of the namespaces to join.
    pub netns: PathBuf,
    pub uts: PathBuf,
    /// An empty directory on which the container's own root is put together.
    pub root: PathBuf,
    /// Bind mounts from the host into that root, in order.
    pub mounts: Vec<Mount>,
    /// Where the process id is written once the root is complete.
    pub pid_file: PathBuf,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub user: Option<u32>,
    pub group: Option<u32>,
}

/// A file or directory of the host shown at a path of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: PathBuf,
    pub target: PathBuf,
    #[serde(default)]
    pub read_only: bool,
}

impl Entry {
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Readable by root alone: the environment may hold secrets.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(serde_json::to_writer(file, self)?)
    }
}
