//! Archives with the same bytes for the same content: a fixed order, one time, nobody's user.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

use crate::failure::{During, Result};

/// What is at a path.
pub(super) enum Entry {
    Folder { mode: u32 },
    File { mode: u32, content: Vec<u8> },
}

/// By path, without a leading slash; folders before what is in them.
pub(super) type Entries = BTreeMap<String, Entry>;

impl Entry {
    pub(super) fn file(content: impl Into<Vec<u8>>) -> Self {
        Self::File { mode: 0o644, content: content.into() }
    }

    pub(super) fn program(content: impl Into<Vec<u8>>) -> Self {
        Self::File { mode: 0o755, content: content.into() }
    }
}

/// An uncompressed archive.
pub(super) fn tar(entries: &Entries, seconds: u64) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, entry) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(seconds);
        header.set_uid(0);
        header.set_gid(0);
        let (path, content) = match entry {
            Entry::Folder { mode } => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                (format!("{path}/"), &[][..])
            }
            Entry::File { mode, content } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                (path.clone(), content.as_slice())
            }
        };
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, &path, content).during(path)?;
    }
    builder.into_inner().during("an archive")
}

/// Without name and time.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder: GzEncoder<Vec<u8>> = GzBuilder::new().write(Vec::new(), Compression::default());
    let done = |encoder: &mut GzEncoder<Vec<u8>>| -> io::Result<()> { encoder.write_all(bytes) };
    done(&mut encoder).during("compression")?;
    encoder.finish().during("compression")
}

/// A folder's files and what they lie in, below a name.
pub(super) fn folder(from: &Path, name: &str) -> Result<Entries> {
    let mut entries = Entries::new();
    collect(from, name, &mut entries)?;
    Ok(entries)
}

fn collect(from: &Path, name: &str, entries: &mut Entries) -> Result {
    entries.insert(name.to_owned(), Entry::Folder { mode: 0o755 });
    for found in fs::read_dir(from).during(from.display())? {
        let path = found.during(from.display())?.path();
        let below = format!("{name}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            collect(&path, &below, entries)?;
            continue;
        }
        let content = fs::read(&path).during(path.display())?;
        let executable = fs::metadata(&path).during(path.display())?.permissions().mode() & 0o111 != 0;
        let entry = if executable { Entry::program(content) } else { Entry::file(content) };
        entries.insert(below, entry);
    }
    Ok(())
}
