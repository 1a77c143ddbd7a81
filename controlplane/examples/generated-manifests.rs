//! Writes the manifests that follow from the code into a folder: `manifests/` of the checkout, where none is named.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use heddle_controlplane::generated::{self, DEFINITIONS};

fn main() -> Result<(), Box<dyn Error>> {
    let checkout = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let folder = std::env::args_os().nth(1).map_or_else(checkout, PathBuf::from);
    // A kind that is no more leaves its file behind otherwise; nothing in here is written by hand.
    match fs::remove_dir_all(folder.join(DEFINITIONS)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    for file in generated::files()? {
        let path = folder.join(&file.path);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(path, file.text)?;
    }
    Ok(())
}
