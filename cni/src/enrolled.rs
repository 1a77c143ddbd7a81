//! The namespaces in which nothing may start uncaptured, as the agent leaves them for the time when it is away.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::trust::{self, Distrust};

/// Where the list is.
pub const FILE: &str = "/run/heddle/cni/namespaces.json";

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The list, and the boot that it is of: one from before a reboot may be of another cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrolled {
    boot_id: String,
    /// Sorted.
    namespaces: Vec<String>,
}

impl Enrolled {
    /// Of this boot.
    ///
    /// # Errors
    /// The kernel does not say which boot this is.
    pub fn now(namespaces: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let mut namespaces: Vec<String> = namespaces.into_iter().collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        Ok(Self { boot_id: boot_id()?, namespaces })
    }

    /// Whether pods of a namespace must not start by themselves.
    pub fn holds(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|name| name == namespace)
    }

    /// The list of this boot; `None` where there is none.
    ///
    /// # Errors
    /// It is there, and not to be believed.
    pub fn read(path: &Path) -> Result<Option<Self>, Distrust> {
        let text = match trust::read(path) {
            Err(Distrust::Absent(_)) => return Ok(None),
            read => read?,
        };
        let wrong = |reason: String| Distrust::Foreign(format!("{}: {reason}", path.display()));
        let read: Self = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let boot = boot_id().map_err(|error| Distrust::Io(BOOT_ID.to_owned(), error))?;
        Ok((read.boot_id == boot).then_some(read))
    }

    /// Replaces the list.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let temporary = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        serde_json::to_writer(&mut file, self)?;
        fs::rename(temporary, path)
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID)?.trim().to_owned())
}
