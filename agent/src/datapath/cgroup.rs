//! The cgroup to attach to: checked, because a private cgroup namespace shows a wrong root.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

use super::error::{DatapathError, doing};

/// An open cgroup2 folder.
#[derive(Debug)]
pub(super) struct Cgroup {
    pub(super) folder: File,
    pub(super) id: u64,
}

impl Cgroup {
    /// Opens a folder, which must be of a cgroup2 hierarchy.
    pub(super) fn open(path: &Path) -> Result<Self, DatapathError> {
        let failed = || doing(format!("cgroup {}", path.display()));
        let folder = File::open(path).map_err(failed())?;
        let kind = fstatfs(&folder).map_err(std::io::Error::from).map_err(failed())?.filesystem_type();
        if kind != CGROUP2_SUPER_MAGIC {
            return Err(wrong(path, "not a cgroup2 folder"));
        }
        // The inode of a cgroup2 folder is the cgroup's id: kernfs, 64-bit inodes.
        let id = folder.metadata().map_err(failed())?.ino();
        Ok(Self { folder, id })
    }

    /// Opens a folder that must also contain this process.
    pub(super) fn around_us(path: &Path) -> Result<Self, DatapathError> {
        let cgroup = Self::open(path)?;
        let Some(own) = own_folder() else {
            return Err(wrong(
                path,
                "cannot tell this process' own cgroup2 (/proc/self/cgroup, /proc/self/mountinfo)",
            ));
        };
        let contains = own.ancestors().any(|up| fs::metadata(up).is_ok_and(|found| found.ino() == cgroup.id));
        if contains { Ok(cgroup) } else { Err(wrong(path, "does not contain this process")) }
    }
}

fn wrong(path: &Path, reason: &str) -> DatapathError {
    DatapathError::Cgroup { path: path.display().to_string(), reason: reason.to_owned() }
}

/// Where this process' cgroup is in the file system.
fn own_folder() -> Option<PathBuf> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let (root, point) = mounts.lines().find_map(cgroup2_mount)?;
    let below = Path::new(path).strip_prefix(root).ok()?;
    Some(Path::new(point).join(below))
}

/// Root and mount point of a cgroup2 mount. Source: proc_pid_mountinfo(5).
fn cgroup2_mount(line: &str) -> Option<(&str, &str)> {
    let (mount, kind) = line.split_once(" - ")?;
    if !kind.starts_with("cgroup2 ") {
        return None;
    }
    let mut fields = mount.split(' ').skip(3);
    Some((fields.next()?, fields.next()?))
}

/// The id of this process' own cgroup.
pub(super) fn own_id() -> Option<u64> {
    Some(fs::metadata(own_folder()?).ok()?.ino())
}
