//! `cargo xtask tidy`: the rules of the house that a program can check.

mod abi;
mod modules;
mod sources;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub(crate) use abi::record as record_abi;

use crate::failure::{During, Failure, Result};
use crate::process;
use crate::workspace::root;

/// A file of the checkout: its path below the root, and its text.
struct Source {
    path: String,
    text: String,
}

/// Checks everything and reports all findings at once.
pub(crate) fn run() -> Result {
    let sources = sources()?;
    let mut findings = sources::check(&sources);
    findings.extend(modules::unreachable(&sources));
    findings.extend(abi::check()?);
    findings.sort();
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("{} findings\n  {}", findings.len(), findings.join("\n  "))))
}

/// Text files that are committed or could be.
fn sources() -> Result<Vec<Source>> {
    let list = process::output(Command::new("git").current_dir(root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))
    .during("tidy reads the checkout through git")?;
    let read = |path: &str| {
        let text = fs::read_to_string(PathBuf::from(root()).join(path)).ok()?;
        Some(Source { path: path.to_owned(), text })
    };
    Ok(list.lines().filter_map(read).collect())
}
