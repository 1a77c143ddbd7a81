//! The cgroup to attach to: checked, because a private cgroup namespace shows a wrong root.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

use super::error::{DatapathError, doing};
use crate::process;

/// An open cgroup2 folder.
#[derive(Debug)]
pub(super) struct Cgroup {
    pub(super) folder: File,
    pub(super) id: u64,
    /// Id of this process' own cgroup, which is this one or below.
    pub(super) own: u64,
}

impl Cgroup {
    /// Id of a folder, which must be of a cgroup2 hierarchy.
    pub(super) fn id_of(path: &Path) -> Result<u64, DatapathError> {
        Ok(open(path)?.1)
    }

    /// Opens a folder that must also contain this process.
    pub(super) fn around_us(path: &Path) -> Result<Self, DatapathError> {
        let (folder, id) = open(path)?;
        let Some(own) = process::own_cgroup_below(path) else {
            return Err(wrong(path, "does not contain this process"));
        };
        let own = fs::metadata(&own).map_err(doing(format!("cgroup {}", own.display())))?.ino();
        Ok(Self { folder, id, own })
    }
}

fn open(path: &Path) -> Result<(File, u64), DatapathError> {
    let failed = || doing(format!("cgroup {}", path.display()));
    let folder = File::open(path).map_err(failed())?;
    let kind = fstatfs(&folder).map_err(std::io::Error::from).map_err(failed())?.filesystem_type();
    if kind != CGROUP2_SUPER_MAGIC {
        return Err(wrong(path, "not a cgroup2 folder"));
    }
    // The inode of a cgroup2 folder is the cgroup's id: kernfs, 64-bit inodes.
    let id = folder.metadata().map_err(failed())?.ino();
    Ok((folder, id))
}

fn wrong(path: &Path, reason: &str) -> DatapathError {
    DatapathError::Cgroup { path: path.display().to_string(), reason: reason.to_owned() }
}
