//! An own bpffs: the shared one can be unmounted by anybody, and the links go with it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heddle_abi::ABI_VERSION;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::error::{DatapathError, doing};
use crate::node::as_of_node;

/// Folders of this version's pins: objects of another layout are never re-used.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    root: PathBuf,
    version: PathBuf,
    /// Held for as long as the kernel side is: two agents would undo each other's work.
    _lock: Arc<Flock<File>>,
}

impl Pins {
    /// Mounts a bpffs at the path if it is not one, and makes the folders.
    pub(super) fn prepare(root: &Path) -> Result<Self, DatapathError> {
        let failed = || doing(format!("bpffs at {}", root.display()));
        std::fs::create_dir_all(root).map_err(failed())?;
        let is_bpffs =
            statfs(root).map_err(io::Error::from).map_err(failed())?.filesystem_type() == BPF_FS_MAGIC;
        if !is_bpffs {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("heddle"), root, Some("bpf"), flags, Some("mode=0700"))
                .map_err(io::Error::from)
                .map_err(failed())?;
        }
        let pins = Self {
            _lock: Arc::new(lock(root)?),
            root: root.to_owned(),
            version: root.join(ABI_VERSION.to_string()),
        };
        for folder in [pins.maps(), pins.links()] {
            std::fs::create_dir_all(&folder).map_err(failed())?;
        }
        Ok(pins)
    }

    /// Where maps are pinned.
    pub(super) fn maps(&self) -> PathBuf {
        self.version.join("maps")
    }

    /// Where links are pinned.
    pub(super) fn links(&self) -> PathBuf {
        self.version.join("links")
    }

    /// A link's pin.
    pub(super) fn link(&self, name: &str) -> PathBuf {
        self.links().join(name)
    }

    /// Names of the pinned links.
    pub(super) fn link_names(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.links())?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Removes what agents of other versions left, once this one's programs stand: detaches theirs.
    pub(super) fn remove_other_versions(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path != self.version && path.is_dir() {
                std::fs::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }
}

/// The folder itself is what is locked: a file of ours cannot be in a bpffs, and beside it would outlive it.
pub(super) fn lock(root: &Path) -> Result<Flock<File>, DatapathError> {
    let failed = || doing(format!("lock of {}", root.display()));
    let folder = File::open(root).map_err(failed())?;
    Flock::lock(folder, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::Error::EWOULDBLOCK => DatapathError::Taken(as_of_node(root).display().to_string()),
        other => failed()(other.into()),
    })
}
