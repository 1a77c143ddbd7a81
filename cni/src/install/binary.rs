//! The plugin's binary in the runtime's folder: replaced whole, so that no runtime ever starts half of one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::conflist::TYPE;
use super::{InstallError, at};

/// What is being written; no runtime starts it.
const NEW: &str = ".heddle-cni.new";
const MODE: u32 = 0o755;

/// Copies the running program into the folder, unless it is there. True: it was not.
///
/// # Errors
/// The folder cannot be written.
pub fn install(from: &Path, folder: &Path) -> Result<bool, InstallError> {
    let target = folder.join(TYPE);
    if same(from, &target).map_err(at(&target))? {
        return Ok(false);
    }
    let temporary = folder.join(NEW);
    copy(from, &temporary).and_then(|()| fs::rename(&temporary, &target)).map_err(at(&target))?;
    Ok(true)
}

/// Removes it. True: it was there.
///
/// # Errors
/// The folder cannot be written.
pub fn remove(folder: &Path) -> Result<bool, InstallError> {
    let mut found = false;
    for name in [NEW, TYPE] {
        let path: PathBuf = folder.join(name);
        match fs::remove_file(&path) {
            Ok(()) => found |= name == TYPE,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&path)(error)),
        }
    }
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::options().write(true).create(true).truncate(true).mode(MODE).open(to)?;
    io::copy(&mut source, &mut target)?;
    target.set_permissions(fs::Permissions::from_mode(MODE))?;
    target.sync_all()
}

fn same(from: &Path, target: &Path) -> io::Result<bool> {
    let found = match fs::metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    let as_wanted = found.len() == fs::metadata(from)?.len() && found.permissions().mode() & 0o777 == MODE;
    Ok(as_wanted && fs::read(from)? == fs::read(target)?)
}
