//! What the process needs from the system before anything else, and how to get it where it is missing.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

/// Why the agent cannot run here; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Not root.
    #[error("heddle-agent loads eBPF programs and enters the pods' network namespaces: run it as root")]
    NotRoot,
    /// No type information of the kernel.
    #[error("this kernel has no BTF (/sys/kernel/btf/vmlinux): use one built with CONFIG_DEBUG_INFO_BTF=y")]
    NoBtf,
    /// The attach point is something else.
    #[error(
        "--cgroup {0} is not on a cgroup v2 file system; `grep cgroup2 /proc/mounts` shows where that is"
    )]
    NoCgroup2(PathBuf),
    /// The programs would not see this process's sockets, and perhaps not the pods'.
    #[error(
        "--cgroup {0} does not contain this process, which is in {1}: give an ancestor of it and of the pods"
    )]
    OtherCgroup(PathBuf, String),
    /// The system refused.
    #[error("{0}: {1}")]
    System(&'static str, nix::Error),
}

/// Makes the process fit to hold keys and many sockets: no core dumps, no readers of its memory, private files,
/// as many descriptors as the system allows.
///
/// # Errors
/// The system refused.
pub fn harden() -> Result<(), ProcessError> {
    nix::sys::prctl::set_dumpable(false).map_err(|error| ProcessError::System("PR_SET_DUMPABLE", error))?;
    umask(Mode::from_bits_truncate(0o077));
    let limit = || {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)
    };
    limit().map_err(|error| ProcessError::System("RLIMIT_NOFILE", error))
}

/// Refuses to be anybody but root.
///
/// # Errors
/// It is somebody else.
pub fn require_root() -> Result<(), ProcessError> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err(ProcessError::NotRoot) }
}

/// Looks for what the agent cannot do without.
///
/// # Errors
/// The first thing that is missing.
pub fn check(cgroup: &Path) -> Result<(), ProcessError> {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(ProcessError::NoBtf);
    }
    if !statfs(cgroup).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC) {
        return Err(ProcessError::NoCgroup2(cgroup.to_owned()));
    }
    match own_cgroup_below(cgroup) {
        Some(_) => Ok(()),
        None => Err(ProcessError::OtherCgroup(cgroup.to_owned(), own_cgroup())),
    }
}

/// This process' cgroup, as its cgroup namespace shows it.
fn own_cgroup() -> String {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    membership.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()
}

/// The folder of this process' cgroup, if it is at or below this one.
pub fn own_cgroup_below(folder: &Path) -> Option<PathBuf> {
    cgroup_below(folder, &own_cgroup(), std::process::id())
}

/// The folder of a process' cgroup, of which `/proc/PID/cgroup` says the path, if it is at or below this one. Names prove nothing,
/// where a cgroup namespace or a mount shows a part of the tree as the whole of it; the list of a folder's processes does.
pub fn cgroup_below(folder: &Path, path: &str, pid: u32) -> Option<PathBuf> {
    let parts: Vec<&str> = path.split('/').filter(|part| !["", ".."].contains(part)).collect();
    let pid = pid.to_string();
    let lists = |at: &PathBuf| {
        let processes = fs::read_to_string(at.join("cgroup.procs")).unwrap_or_default();
        processes.lines().any(|line| line == pid)
    };
    let mut ends = (0..=parts.len())
        .map(|skipped| parts[skipped..].iter().fold(folder.to_owned(), |at, part| at.join(part)));
    ends.find(lists)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_folder_contains_the_processes_that_it_and_those_below_list() {
        let root = tempfile::tempdir().unwrap();
        let (node, agent) = (root.path().join("x/node-1"), root.path().join("x/node-1/agent"));
        fs::create_dir_all(&agent).unwrap();
        for (folder, processes) in [(root.path(), "1\n"), (&node, "12\n"), (&agent, "7\n123\n")] {
            fs::write(folder.join("cgroup.procs"), processes).unwrap();
        }
        let below = |folder: &Path, path, pid| cgroup_below(folder, path, pid);
        // The whole tree, a part that is mounted as if it were the whole, and a path as seen from below it.
        assert_eq!(below(root.path(), "/x/node-1/agent", 123), Some(agent.clone()));
        assert_eq!(below(&node, "/x/node-1/agent", 123), Some(agent.clone()));
        assert_eq!(below(&agent, "/x/node-1/agent", 7), Some(agent.clone()));
        assert_eq!(below(root.path(), "/../x/node-1/agent", 7), Some(agent));
        assert_eq!(below(root.path(), "/", 1), Some(root.path().to_owned()));
        for (folder, path, pid) in
            [(&node, "/x/node-2/agent", 99), (&node, "/", 1), (&node, "/x/node-1/agent", 12_345)]
        {
            assert_eq!(below(folder, path, pid), None, "{path} {pid}");
        }
    }
}
