//! The texts behind `-f FILE|DIR|-`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use heddle_api::diagnostic::{Code, Problem};

/// A little more than a manifest may have, so that the reader of manifests says what is too much.
const MOST_BYTES: u64 = (16 << 20) + 1;
/// Directories below directories; symbolic links may make a ring.
const DEEPEST: usize = 32;

/// A text, or why there is none.
pub(crate) struct Source {
    /// As diagnostics name it.
    pub(crate) name: String,
    /// Its content.
    pub(crate) text: Result<String, Problem>,
}

/// Reads everything that is named, in order; the files of a directory by name.
pub(crate) fn read(names: &[String], recursive: bool) -> Vec<Source> {
    names.iter().flat_map(|name| one(name, recursive)).collect()
}

fn one(name: &str, recursive: bool) -> Vec<Source> {
    if name == "-" {
        return vec![source(name.to_owned(), text(io::stdin().lock()))];
    }
    let path = Path::new(name);
    if !path.is_dir() {
        return vec![file(path)];
    }
    let mut files = Vec::new();
    if let Err(error) = list(path, recursive, 0, &mut files) {
        return vec![source(name.to_owned(), Err(error))];
    }
    if files.is_empty() {
        let error = io::Error::new(io::ErrorKind::NotFound, "has no .yaml, .yml or .json file");
        return vec![source(name.to_owned(), Err(error))];
    }
    files.iter().map(|path| file(path)).collect()
}

fn list(directory: &Path, recursive: bool, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries: Vec<PathBuf> =
        directory.read_dir()?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    for path in entries {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            if recursive && depth < DEEPEST {
                list(&path, recursive, depth + 1, files)?;
            }
        } else if matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(path);
        }
    }
    Ok(())
}

fn file(path: &Path) -> Source {
    source(path.display().to_string(), File::open(path).and_then(text))
}

fn text(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn source(name: String, bytes: io::Result<Vec<u8>>) -> Source {
    let text = match bytes {
        Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
            Problem::error(Code::Syntax, "", format!("is not UTF-8: {}", error.utf8_error()))
        }),
        Err(error) => Err(Problem::error(Code::Unreadable, "", format!("cannot be read: {error}"))),
    };
    Source { name, text }
}
