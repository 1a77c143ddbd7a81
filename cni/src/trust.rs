//! Whether a path is root's own: what somebody else can write or replace says nothing.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Writable by group or others.
const OPEN: u32 = 0o022;

/// Why a path is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// It is not there.
    #[error("{0} does not exist")]
    Absent(String),
    /// It is somebody else's, or others can write it.
    #[error("{0}")]
    Foreign(String),
    /// It cannot be looked at.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
}

/// Checks a socket and the folder that it is in.
///
/// # Errors
/// Why it may not be spoken to.
pub fn socket(path: &Path) -> Result<(), Distrust> {
    folder_of(path)?;
    let found = look(path)?;
    if !found.file_type().is_socket() {
        return Err(Distrust::Foreign(format!("{} is not a socket", path.display())));
    }
    owner(path, &found)
}

/// Reads a file that only root can have written.
///
/// # Errors
/// Why it is not believed.
pub fn read(path: &Path) -> Result<Vec<u8>, Distrust> {
    folder_of(path)?;
    let found = look(path)?;
    if !found.is_file() {
        return Err(Distrust::Foreign(format!("{} is not a file", path.display())));
    }
    owner(path, &found)?;
    closed(path, &found)?;
    fs::read(path).map_err(|error| Distrust::Io(path.display().to_string(), error))
}

fn folder_of(path: &Path) -> Result<(), Distrust> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let found = look(folder)?;
    owner(folder, &found)?;
    closed(folder, &found)
}

/// Without following a link: a link is its owner's word about where to look.
fn look(path: &Path) -> Result<fs::Metadata, Distrust> {
    let name = || path.display().to_string();
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Distrust::Absent(name())),
        Err(error) => Err(Distrust::Io(name(), error)),
    }
}

fn owner(path: &Path, found: &fs::Metadata) -> Result<(), Distrust> {
    match found.uid() {
        0 => Ok(()),
        other => Err(Distrust::Foreign(format!("{} belongs to user {other}, not to root", path.display()))),
    }
}

fn closed(path: &Path, found: &fs::Metadata) -> Result<(), Distrust> {
    match found.mode() & OPEN {
        0 => Ok(()),
        _ => {
            let mode = found.mode() & 0o7777;
            Err(Distrust::Foreign(format!(
                "{} can be written by others than root (mode {mode:o})",
                path.display()
            )))
        }
    }
}
