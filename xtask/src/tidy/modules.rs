//! Finds `.rs` files that no `mod` line leads to: they are neither compiled nor tested.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Source;

pub(super) fn unreachable(sources: &[Source]) -> Vec<String> {
    let files: BTreeMap<PathBuf, &str> = sources
        .iter()
        .filter(|source| source.path.ends_with(".rs"))
        .map(|source| (PathBuf::from(&source.path), source.text.as_str()))
        .collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<PathBuf> = files.keys().filter(|path| is_root(path)).cloned().collect();
    while let Some(file) = open.pop() {
        if let Some(text) = files.get(&file) {
            open.extend(
                children(&file, text).filter(|child| files.contains_key(child) && !reached.contains(child)),
            );
            reached.insert(file);
        }
    }
    let lost = files.keys().filter(|path| !reached.contains(*path));
    lost.map(|path| format!("{}: no `mod` line leads to this file", path.display())).collect()
}

/// Files that cargo itself finds.
fn is_root(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        [_, "build.rs" | "fuzz_targets", ..] | [_, "src", "lib.rs" | "main.rs"] => true,
        [_, "src", "bin", rest @ ..] | [_, "tests" | "benches" | "examples", rest @ ..] => {
            rest.len() == 1 || rest.last() == Some(&"main.rs")
        }
        _ => false,
    }
}

/// The files that the `mod` lines of `file` may mean.
fn children(file: &Path, text: &str) -> impl Iterator<Item = PathBuf> {
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let is_top = is_root(file) || file.file_name().is_some_and(|name| name == "mod.rs");
    let below = if is_top { folder.clone() } else { file.with_extension("") };
    let mut explicit = None;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|rest| rest.split('"').next()) {
            explicit = Some(folder.join(path));
        } else if let Some(name) = module(line) {
            found.extend(explicit.take());
            found.extend([below.join(format!("{name}.rs")), below.join(name).join("mod.rs")]);
        }
    }
    found.into_iter()
}

/// `pub(crate) mod name;` → `name`
fn module(line: &str) -> Option<&str> {
    let (before, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
    let visible = before.is_empty() || before.starts_with("pub");
    (visible && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::{Source, unreachable};

    #[test]
    fn a_file_that_no_mod_line_names_is_found() {
        let file = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
        let sources = [
            file("core/src/lib.rs", "pub mod a;\npub(crate) mod b;\n"),
            file("core/src/a.rs", "#[cfg(test)]\nmod tests;\n"),
            file("core/src/a/tests.rs", ""),
            file("core/src/b/mod.rs", "mod c;\n"),
            file("core/src/b/c.rs", ""),
            file("core/src/lost.rs", ""),
            file("core/src/a/lost.rs", ""),
            file("tests/src/bin/demo/main.rs", "mod stage;"),
            file("tests/src/bin/demo/stage.rs", ""),
        ];
        let found = unreachable(&sources);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|finding| finding.contains("lost.rs")), "{found:?}");
    }
}
