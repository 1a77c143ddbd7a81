//! bpf-linker, built against the LLVM that this rustc brings, so that bitcode and linker always match.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::failure::{During, Result};
use crate::process;
use crate::workspace::{Toolchain, cargo};

const VERSION: &str = "0.13.0";

/// The linker, when it was built before.
pub(super) fn present(toolchain: &Toolchain) -> Result<Option<PathBuf>> {
    let linker = folder(toolchain)?.join("bin/bpf-linker");
    Ok(linker.exists().then_some(linker))
}

/// Builds the linker where it lacks: about a minute.
pub(super) fn ensure(toolchain: &Toolchain) -> Result<PathBuf> {
    if let Some(linker) = present(toolchain)? {
        return Ok(linker);
    }
    let folder = folder(toolchain)?;
    let llvm = folder.join("llvm");
    let lib = llvm.join("lib");
    fs::create_dir_all(&lib).during(lib.display())?;
    let link = lib.join("libLLVM.so");
    let _ = fs::remove_file(&link);
    symlink(toolchain.libllvm()?, &link).during(link.display())?;

    eprintln!(
        "setup: bpf-linker {VERSION}: building against LLVM {} of rustc (about a minute)",
        toolchain.llvm_major
    );
    let features = format!("llvm-{}", toolchain.llvm_major);
    let mut install = cargo();
    install
        .args([
            "install",
            "bpf-linker",
            "--version",
            VERSION,
            "--locked",
            "--no-default-features",
            "--features",
            &features,
        ])
        .arg("--root")
        .arg(&folder)
        .arg("--target-dir")
        .arg(folder.join("target"))
        .env("LLVM_PREFIX", &llvm)
        .env_remove("CARGO_TARGET_DIR");
    let result = process::run(&mut install);
    let _ = fs::remove_dir_all(folder.join("target"));
    result?;
    present(toolchain)?.during("cargo install ended well and left no bpf-linker")
}

fn folder(toolchain: &Toolchain) -> Result<PathBuf> {
    Ok(toolchain.cache()?.join(format!("bpf-linker-{VERSION}")))
}
