//! Into the node's network configuration, and out of it: the file that the runtime uses always has this plugin last in its chain.
//!
//! ```text
//! folder: which file counts, written whole ──► conflist: the text with the entry, or without
//!    ▲                                            places: where the runtime's folders are
//! watch: looks again when something moves, at a pace that another writer cannot drive up ──► report
//! ```

pub mod binary;
pub mod conflist;
pub mod folder;
pub mod pace;
pub mod places;
pub mod report;
pub mod watch;

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::invocation::EXCLUDED;
use crate::{enrolled, protocol};
use conflist::TYPE;

/// What the entry says.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The agent's socket, as the node sees it.
    pub socket: PathBuf,
    /// See [`enrolled::FILE`], as the node sees it.
    pub namespaces_file: PathBuf,
    /// See [`EXCLUDED`].
    pub exclude_namespaces: Vec<String>,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            socket: protocol::SOCKET.into(),
            namespaces_file: enrolled::FILE.into(),
            exclude_namespaces: EXCLUDED.map(str::to_owned).into(),
        }
    }
}

impl Entry {
    /// As it stands in a configuration.
    pub fn json(&self) -> Value {
        json!({
            "type": TYPE,
            "socket": self.socket,
            "namespacesFile": self.namespaces_file,
            "excludeNamespaces": self.exclude_namespaces,
        })
    }
}

/// Why an installation, a repair or a removal failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file or folder.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// A file that the runtime would not read either.
    #[error("{0}: {1}")]
    Content(String, String),
    /// A writer that does not stop.
    #[error("{0}: another program rewrites it as fast as it is read")]
    Contended(String),
}

/// Says which path an error is about.
fn at(path: &std::path::Path) -> impl FnOnce(io::Error) -> InstallError {
    let name = path.display().to_string();
    move |error| InstallError::Io(name, error)
}
