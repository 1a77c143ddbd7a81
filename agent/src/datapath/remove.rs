//! Everything of ours out of the kernel, for a node that is to be as it was before Heddle came.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::fcntl::Flock;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::error::{DatapathError, doing};
use super::{attach, bpffs, clsact};

/// What was taken out. Holds the lock of the pins, so that no agent begins meanwhile.
#[derive(Debug)]
pub struct Removed {
    /// Links that were detached, and pods' interfaces that lost their filters.
    pub links: usize,
    /// Folders of pinned maps and links, one per version of their layout.
    pub folders: usize,
    _lock: Option<Flock<File>>,
}

/// Detaches and unpins what agents of any version pinned below an own bpffs, and takes the guards off the node's interfaces: pods
/// talk directly again. A folder that is no bpffs has nothing of ours.
///
/// # Errors
/// An agent runs, or the kernel refuses.
pub fn remove(bpffs: &Path) -> Result<Removed, DatapathError> {
    let failed = |path: &Path| doing(path.display().to_string());
    let is_bpffs = statfs(bpffs).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    let mut removed = Removed { links: 0, folders: 0, _lock: None };
    if is_bpffs {
        removed._lock = Some(bpffs::lock(bpffs)?);
        for entry in fs::read_dir(bpffs).map_err(failed(bpffs))? {
            let folder = entry.map_err(failed(bpffs))?.path();
            if is_version(&folder) {
                removed.links += detach(&folder.join("links")).map_err(failed(&folder))?;
                fs::remove_dir_all(&folder).map_err(failed(&folder))?;
                removed.folders += 1;
            }
        }
    }
    removed.links += clsact::detach_everywhere();
    Ok(removed)
}

/// `3`: the version of a layout.
fn is_version(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) && folder.is_dir()
}

/// Capture ends first and the guards leave last, as when a pod is released: nothing is let through by halves.
fn detach(links: &Path) -> io::Result<usize> {
    let mut names: Vec<_> = match fs::read_dir(links) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    names.sort_by_key(|name| {
        let name = name.to_string_lossy();
        (name.starts_with("guard-"), name.starts_with("lookup-"), name.into_owned())
    });
    for name in &names {
        attach::remove(&links.join(name))?;
    }
    Ok(names.len())
}
