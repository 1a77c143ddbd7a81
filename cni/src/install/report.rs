//! What the installer did, for the agent's metrics and `heddle check`: a small file beside the agent's socket.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where it is.
pub const FILE: &str = "/run/heddle/cni/installer.json";

/// State of the installation on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// The file that has the entry.
    pub configuration: Option<String>,
    /// How often it was brought to what it should be, by this installer.
    pub repairs: u64,
    /// How many of them were held back because another program undoes them.
    pub held_back: u64,
    /// What is wrong now.
    pub error: Option<String>,
}

impl Report {
    /// Replaces the file.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let temporary = path.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(temporary, path)
    }

    /// `None`: no installer has run since the node booted.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}
