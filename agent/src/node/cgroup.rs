//! cgroup2 of the node: where it is mounted, and folders of our own in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where a process sees the whole of cgroup2, of its `/proc/PID/mountinfo`. Source: proc_pid_mountinfo(5).
pub(super) fn mounts(mountinfo: &str) -> impl Iterator<Item = &Path> {
    mountinfo.lines().filter_map(|line| {
        let (fields, rest) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (root == "/" && rest.starts_with("cgroup2 ")).then_some(Path::new(point))
    })
}

/// Puts a process into a folder of its own directly below the root, where nothing limits it.
pub(super) fn settle(root: &Path, name: &str, pid: u32) -> io::Result<PathBuf> {
    let folder = root.join(name);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    fs::write(folder.join("cgroup.procs"), pid.to_string())?;
    Ok(folder)
}

/// Processes of a folder, as this process numbers them.
pub(super) fn processes(folder: &Path) -> Vec<u32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Whether moving a process out of a folder changes what it may use: not where cgroup2 has no controllers (the hybrid mode, in which
/// version 1 has them all), and not from the root, which has no limits.
pub(super) fn is_free(root: &Path, folder: &Path) -> bool {
    let controllers = fs::read_to_string(folder.join("cgroup.controllers"));
    folder == root || controllers.is_ok_and(|text| text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mount_of_the_whole_tree_counts() {
        let info = "31 24 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\
                    32 24 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                    33 24 0:27 /kubepods/pod1 /var/lib/x rw - cgroup2 cgroup2 rw";
        assert_eq!(mounts(info).collect::<Vec<_>>(), [Path::new("/sys/fs/cgroup/unified")]);
    }
}
