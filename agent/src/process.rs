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

/// Looks for what the agent cannot do without.
///
/// # Errors
/// The first thing that is missing.
pub fn check(cgroup: &Path) -> Result<(), ProcessError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(ProcessError::NotRoot);
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(ProcessError::NoBtf);
    }
    if !statfs(cgroup).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC) {
        return Err(ProcessError::NoCgroup2(cgroup.to_owned()));
    }
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = membership.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let contained = cgroup2_mounts(&mounts).any(|(root, point)| contains((root, point), cgroup, own));
    if contained { Ok(()) } else { Err(ProcessError::OtherCgroup(cgroup.to_owned(), own.to_owned())) }
}

/// (root, mount point) of every cgroup v2 mount. Source: proc(5), mountinfo.
fn cgroup2_mounts(mountinfo: &str) -> impl Iterator<Item = (&str, &str)> {
    mountinfo.lines().filter_map(|line| {
        let (fields, rest) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let pair = (fields.next()?, fields.next()?);
        rest.starts_with("cgroup2 ").then_some(pair)
    })
}

/// Whether the cgroup `own`, as /proc shows it, is `attached` or below. A path that leaves the cgroup namespace
/// ("/../…") is below nothing that can be seen from here.
fn contains((root, point): (&str, &str), attached: &Path, own: &str) -> bool {
    let Ok(below) = attached.strip_prefix(point) else { return false };
    let attached = Path::new(root).join(below);
    !own.contains("..") && Path::new(own).starts_with(attached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attach_point_contains_its_descendants_only() {
        let info = "31 24 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\
                    32 24 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        let mounts: Vec<_> = cgroup2_mounts(info).collect();
        assert_eq!(mounts, [("/", "/sys/fs/cgroup/unified")]);
        let node = Path::new("/sys/fs/cgroup/unified/heddle-x/node-1");
        assert!(contains(mounts[0], node, "/heddle-x/node-1/agent"));
        assert!(!contains(mounts[0], node, "/heddle-x/node-10/agent"));
        assert!(!contains(mounts[0], node, "/../node-1"));
        assert!(!contains(mounts[0], Path::new("/sys/fs/cgroup/cpu"), "/"));
        assert!(contains(("/pod", "/cg"), Path::new("/cg"), "/pod/agent"));
    }
}
