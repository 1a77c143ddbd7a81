//! Checks of one file at a time: first line, length, name, inherited lints, paths of somebody's machine.

use std::path::Path;

use super::Source;
use crate::workspace::root;

const LONGEST: usize = 400;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] =
    ["utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "types"];
/// Where people's own files are.
const HOMES: [&str; 3] = ["/home/", "/Users/", "/root/"];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let members = sources.iter().filter(|source| is_member(&source.path));
    let mut findings: Vec<String> = members.filter_map(inherits_lints).collect();
    for source in sources {
        if source.path.ends_with(".rs") {
            findings.extend([first_line(source), length(source), name(source)].into_iter().flatten());
        }
        findings.extend(machine_path(source, &root().display().to_string()));
    }
    findings
}

/// Tests may be long: they are lists.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn first_line(source: &Source) -> Option<String> {
    let first = source.text.lines().next().unwrap_or_default();
    (!first.starts_with("//! "))
        .then(|| format!("{}: the first line is not `//!` and a sentence", source.path))
}

fn length(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > LONGEST && !is_test(&source.path))
        .then(|| format!("{}: {lines} lines, {LONGEST} at the most", source.path))
}

fn name(source: &Source) -> Option<String> {
    let path = Path::new(&source.path).with_extension("");
    let empty = path.iter().find(|part| EMPTY_NAMES.iter().any(|name| *part == *name))?;
    Some(format!("{}: `{}` names nothing", source.path, empty.display()))
}

/// `fuzz` and `ebpf` are workspaces of their own and build for other targets.
fn is_member(path: &str) -> bool {
    let other = ["Cargo.toml", "ebpf/Cargo.toml", "fuzz/Cargo.toml"];
    path.ends_with("Cargo.toml") && !other.contains(&path)
}

fn inherits_lints(source: &Source) -> Option<String> {
    let section = source.text.split_once("\n[lints]\n").map(|(_, rest)| rest.trim_start());
    let inherited = section.is_some_and(|section| section.starts_with("workspace = true"))
        || source.text.contains("lints.workspace = true");
    (!inherited).then(|| format!("{}: does not inherit the workspace's lints", source.path))
}

fn machine_path(source: &Source, checkout: &str) -> Option<String> {
    // This file names what it looks for.
    if source.path == "xtask/src/tidy/sources.rs" {
        return None;
    }
    let found = HOMES.iter().copied().chain([checkout]).find(|path| source.text.contains(path))?;
    Some(format!("{}: has a path of one machine: {found}", source.path))
}

#[cfg(test)]
mod tests {
    use super::{Source, check};

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&[Source { path: path.into(), text: text.into() }])
    }

    #[test]
    fn a_source_file_starts_with_a_sentence() {
        assert!(findings("core/src/lib.rs", "//! The core.\n").is_empty());
        assert_eq!(findings("core/src/lib.rs", "use std::fs;\n").len(), 1);
    }

    #[test]
    fn a_file_is_at_most_400_lines_unless_it_is_tests() {
        let long = format!("//! Long.\n{}", "\n".repeat(400));
        assert_eq!(findings("core/src/long.rs", &long).len(), 1);
        assert!(findings("core/src/tests.rs", &long).is_empty());
    }

    #[test]
    fn names_that_say_nothing_are_refused_for_files_and_folders() {
        assert_eq!(findings("core/src/utils.rs", "//! Many things.\n").len(), 1);
        assert_eq!(findings("core/src/common/x.rs", "//! X.\n").len(), 1);
    }

    #[test]
    fn every_crate_inherits_the_lints() {
        assert_eq!(findings("core/Cargo.toml", "[package]\nname = \"x\"\n").len(), 1);
        assert!(findings("core/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n").is_empty());
    }

    #[test]
    fn a_path_of_somebodys_machine_is_refused() {
        assert_eq!(findings("README.md", concat!("see /ho", "me/me/notes")).len(), 1);
    }
}
