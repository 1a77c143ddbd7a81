//! One file an object, replaced by rename, so that a reader never sees half of one.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use heddle_api::object::Object;

use super::StoreError;

/// `<plural>.<group or core>/<namespace or _>/<name>.json`
fn path(directory: &Path, object: &Object) -> PathBuf {
    directory
        .join(object.kind.directory())
        .join(object.namespace.as_deref().unwrap_or("_"))
        .join(format!("{}.json", object.name))
}

/// The controller reads no longer file.
const MOST_BYTES: usize = 16 << 20;

pub(super) fn write(directory: &Path, object: &Object) -> Result<(), StoreError> {
    let path = path(directory, object);
    let failed = |source| StoreError::Disk { path: path.display().to_string(), source };
    let text = serde_json::to_vec_pretty(&object.value).map_err(|error| failed(error.into()))?;
    if text.len() > MOST_BYTES {
        return Err(StoreError::too_large(object, text.len(), MOST_BYTES));
    }
    write_file(&path, &object.name, &text).map_err(failed)
}

fn write_file(path: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    // Names that start with a dot are temporary by agreement: object names cannot.
    let temporary = folder.join(format!(".{name}.json"));
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}

pub(super) fn remove(directory: &Path, object: &Object) -> Result<(), StoreError> {
    let path = path(directory, object);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::Disk { path: path.display().to_string(), source })
        }
        _ => Ok(()),
    }
}
