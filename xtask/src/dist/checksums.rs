//! `SHA256SUMS`: over every file of the folder, as `sha256sum --check` reads it.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::failure::{During, Result};

const FILE: &str = "SHA256SUMS";

/// Hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Writes it, and returns its text.
pub(super) fn write(folder: &Path) -> Result<String> {
    let mut names = Vec::new();
    collect(folder, "", &mut names)?;
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        let path = folder.join(&name);
        let sum = sha256(&fs::read(&path).during(path.display())?);
        text.push_str(&format!("{sum}  {name}\n"));
    }
    fs::write(folder.join(FILE), &text).during(FILE)?;
    Ok(text)
}

fn collect(folder: &Path, below: &str, names: &mut Vec<String>) -> Result {
    for found in fs::read_dir(folder).during(folder.display())? {
        let path = found.during(folder.display())?.path();
        let name = format!("{below}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), names)?;
        } else if name != FILE {
            names.push(name);
        }
    }
    Ok(())
}
