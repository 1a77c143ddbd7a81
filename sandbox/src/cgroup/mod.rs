//! Cgroups (version 2) of a sandbox: `heddle-NAME/node-N/{agent,kubelet,host,pods/UID}`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One cgroup directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup(PathBuf);

/// How long the processes of a killed cgroup may take to go.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

impl Cgroup {
    /// The root of the cgroup2 hierarchy, wherever this machine mounts it.
    pub fn root() -> io::Result<Self> {
        find_root(&std::fs::read_to_string("/proc/mounts")?)
            .map(Self)
            .ok_or_else(|| io::Error::other("no cgroup2 file system in /proc/mounts; mount one"))
    }

    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn child(&self, name: &str) -> Self {
        Self(self.0.join(name))
    }

    pub fn create(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)
    }

    /// Moves the calling process here.
    pub fn enter(&self) -> io::Result<()> {
        std::fs::write(self.0.join("cgroup.procs"), "0")
    }

    /// SIGKILL to every process below, at once and without a race with fork.
    pub fn kill(&self) -> io::Result<()> {
        match std::fs::write(self.0.join("cgroup.kill"), "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Kills what still runs below and removes the directories, children first. What does not exist is removed.
    pub fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + KILL_DEADLINE;
        loop {
            // Every time: what was just being started may have come in after the last one.
            self.kill()?;
            match remove_tree(&self.0) {
                // A killed process keeps its cgroup busy until it is gone; the kernel has no event for a subtree.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                result => return result,
            }
        }
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn find_root(mounts: &str) -> Option<PathBuf> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            Some((fields.nth(1)?, fields.next()?))
        })
        .find(|(_, kind)| *kind == "cgroup2")
        .map(|(path, _)| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_beside_version_1() {
        let mounts =
            "cgroup /sys/fs/cgroup/pids cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(find_root(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(find_root("proc /proc proc rw 0 0\n"), None);
    }
}
