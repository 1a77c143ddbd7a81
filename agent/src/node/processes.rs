//! Processes as /proc shows them. Every answer may be out of date when it comes: who relies on one asks again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use heddle_core::names::PodUid;

use super::pods::{below, pod_of};

/// A proc file system.
#[derive(Clone, Debug)]
pub struct Proc {
    folder: PathBuf,
    /// Cgroups of the first process: a node may be a container, of another cluster even.
    first: String,
}

impl Default for Proc {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl Proc {
    /// By its folder, which shows the node's processes.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let first = fs::read_to_string(folder.join("1/cgroup")).unwrap_or_default();
        Self { folder, first }
    }

    /// The same after the cgroup namespace of this process has changed, and with it what paths are relative to.
    pub(super) fn again(&self) -> Self {
        Self::at(&self.folder)
    }

    /// Every process, in the order of their numbers.
    pub fn pids(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut pids: Vec<u32> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        pids.sort_unstable();
        pids
    }

    /// A file of a process.
    pub fn file(&self, pid: u32, name: &str) -> PathBuf {
        self.folder.join(pid.to_string()).join(name)
    }

    /// `/proc/PID/cgroup`.
    pub fn cgroups(&self, pid: u32) -> Option<String> {
        fs::read_to_string(self.file(pid, "cgroup")).ok()
    }

    /// The same below the node's first process.
    pub(super) fn cgroups_of_node(&self, pid: u32) -> Option<String> {
        Some(below(&self.cgroups(pid)?, &self.first))
    }

    /// The pod that a process is of, by the kubelet's cgroups.
    pub fn pod(&self, pid: u32) -> Option<PodUid> {
        pod_of(&self.cgroups_of_node(pid)?)
    }

    /// Inode of a namespace: `net`, `mnt`, `cgroup`. Needs CAP_SYS_PTRACE for processes of others.
    pub fn namespace(&self, pid: u32, kind: &str) -> Option<u64> {
        Some(fs::metadata(self.file(pid, "ns").join(kind)).ok()?.ino())
    }

    /// Name of the program's file.
    pub(super) fn program(&self, pid: u32) -> Option<String> {
        let path = fs::read_link(self.file(pid, "exe")).ok()?;
        let name = path.file_name()?.to_str()?;
        // Replaced on disk since it was started.
        Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
    }

    /// `comm`: the process may have chosen it.
    pub(super) fn title(&self, pid: u32) -> Option<String> {
        Some(fs::read_to_string(self.file(pid, "comm")).ok()?.trim_end().to_owned())
    }

    /// Whether its effective user is root.
    pub(super) fn is_root(&self, pid: u32) -> bool {
        let status = fs::read_to_string(self.file(pid, "status")).unwrap_or_default();
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        uids.split_whitespace().nth(1) == Some("0")
    }

    /// Parent and time of start, which tell one process of a number from the next.
    pub(super) fn stat(&self, pid: u32) -> Option<(u32, u64)> {
        let stat = fs::read_to_string(self.file(pid, "stat")).ok()?;
        // The title in parentheses may have anything in it.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let parent = fields.nth(1)?.parse().ok()?;
        Some((parent, fields.nth(17)?.parse().ok()?))
    }
}

/// The cgroup2 part of `/proc/PID/cgroup`.
pub(super) fn unified(cgroups: &str) -> Option<&str> {
    cgroups.lines().find_map(|line| line.strip_prefix("0::"))
}
