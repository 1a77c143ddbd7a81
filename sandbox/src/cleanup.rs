//! Removes all that a sandbox has left, whoever ended it and however.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use crate::cgroup::Cgroup;
use crate::fabric::Layout;

/// Ends the processes of the sandbox's cgroups (its namespaces and interfaces end with them), unmounts what is
/// mounted below its directory and removes that. Without such leftovers it does nothing. The daemon itself must
/// have ended before.
pub fn cleanup(name: &str) -> io::Result<()> {
    let layout = Layout::new(name);
    Cgroup::root()?.child(&layout.cgroup_name()).remove()?;
    for path in mounts_below(&std::fs::read("/proc/self/mounts")?, layout.root()) {
        umount2(&path, MntFlags::MNT_DETACH)
            .map_err(|error| io::Error::other(format!("unmount {}: {error}", path.display())))?;
    }
    remove_directory(layout.root())?;
    // The parent goes with the last sandbox; while others are there it is not empty.
    let _ = layout.root().parent().map(std::fs::remove_dir);
    Ok(())
}

/// A process that is just ending may still add a file; a few attempts outlast it.
fn remove_directory(path: &Path) -> io::Result<()> {
    let mut attempts = 0;
    loop {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempts < 20 => {
                attempts += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// What was mounted last comes first.
fn mounts_below(mounts: &[u8], root: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(1))
        .map(|path| PathBuf::from(OsString::from_vec(path.to_vec())))
        .filter(|path| path.starts_with(root))
        .collect();
    paths.reverse();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_this_sandbox_only_are_taken_the_last_first() {
        let mounts = b"bpf /run/heddle/a/nodes/node-1/bpf bpf rw 0 0\nx /run/heddle/ab/y tmpfs rw 0 0\n\
                       t /run/heddle/a/nodes/node-1/keys tmpfs rw 0 0\n";
        let below = mounts_below(mounts, Path::new("/run/heddle/a"));
        let want = ["/run/heddle/a/nodes/node-1/keys", "/run/heddle/a/nodes/node-1/bpf"];
        assert_eq!(below, want.map(PathBuf::from));
    }
}
