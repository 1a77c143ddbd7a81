//! The object does not depend on where it is built.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::compile;
use crate::{setup, workspace};

/// A folder that goes away with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_of_the_sources(to: &Path) {
    fs::create_dir_all(to).unwrap();
    let sources =
        ["Cargo.toml", "rust-toolchain.toml", "abi", "ebpf"].map(|name| workspace::root().join(name));
    let status = Command::new("cp").arg("-r").args(sources).arg(to).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_object_has_the_same_bytes_in_another_folder() {
    let tools = setup::ebpf().unwrap();
    let here = compile(workspace::root(), &workspace::target_dir().join("ebpf"), &tools).unwrap();
    let scratch = Scratch(std::env::temp_dir().join(format!("heddle-elsewhere-{}", std::process::id())));
    let root = scratch.0.join("a folder deeper");
    copy_of_the_sources(&root);
    let there = compile(&root, &scratch.0.join("output"), &tools).unwrap();
    assert!(here == there, "{} and {} bytes, and they differ", here.len(), there.len());
    let text = String::from_utf8_lossy(&here);
    for path in [workspace::root(), &tools.library, &tools.llvm] {
        assert!(!text.contains(path.to_str().unwrap()), "the object names {}", path.display());
    }
}
