//! The kernel boundary: `abi/src` does not change without a new `ABI_VERSION`, because maps stay pinned across restarts.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::failure::{During, Result};
use crate::workspace::root;

const RECORD: &str = "abi/version.lock";

/// What is committed beside the sources, and what the sources say.
struct Layout {
    version: u32,
    /// Over the code, without comments, blank lines and tests.
    hash: String,
}

/// Findings, where the sources differ from the record.
pub(super) fn check() -> Result<Option<String>> {
    let now = Layout::read()?;
    let Some((version, hash)) = recorded() else {
        return Ok(Some(format!("{RECORD} is missing: run `cargo xtask codegen`")));
    };
    Ok(match (now.hash == hash, now.version > version) {
        (true, false) => None,
        (_, true) => Some(format!(
            "{RECORD}: does not have ABI_VERSION {} yet: run `cargo xtask codegen`",
            now.version
        )),
        (false, false) => Some(format!("abi/src: changed, and ABI_VERSION is {version} as before: raise it")),
    })
}

/// Records a new version; an old one keeps its hash, so that a change without a bump still shows.
pub(crate) fn record() -> Result {
    let now = Layout::read()?;
    if recorded().is_some_and(|(version, _)| now.version <= version) {
        return Ok(());
    }
    let path = root().join(RECORD);
    fs::write(&path, format!("{} {}\n", now.version, now.hash)).during(path.display())
}

impl Layout {
    fn read() -> Result<Self> {
        let mut files = Vec::new();
        collect(&root().join("abi/src"), &mut files)?;
        files.sort();
        let mut code = String::new();
        for file in &files {
            let text = fs::read_to_string(file).during(file.display())?;
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"))
            {
                code.push_str(line);
                code.push('\n');
            }
        }
        // With fixed keys, and the toolchain is pinned: the same sources have the same hash everywhere.
        let mut hasher = DefaultHasher::new();
        code.hash(&mut hasher);
        let version = code.lines().find_map(version).during("abi/src has no `ABI_VERSION: u32 = …;`")?;
        Ok(Self { version, hash: format!("{:016x}", hasher.finish()) })
    }
}

fn recorded() -> Option<(u32, String)> {
    let text = fs::read_to_string(root().join(RECORD)).ok()?;
    let (version, hash) = text.trim().split_once(' ')?;
    Some((version.parse().ok()?, hash.to_owned()))
}

/// `pub const ABI_VERSION: u32 = 3;` → 3
fn version(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once("ABI_VERSION: u32 = ")?;
    rest.trim_end_matches(';').parse().ok()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result {
    for entry in folder.read_dir().during(folder.display())?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ext| ext == "rs")
            && path.file_stem().is_some_and(|stem| stem != "tests")
        {
            files.push(path);
        }
    }
    Ok(())
}
