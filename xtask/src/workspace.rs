//! Where things are: the checkout, the compiler that builds it, and the cache that all checkouts share.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{During, Failure, Result};
use crate::process;

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    // `cargo xtask` builds this crate in the checkout that it serves.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo's output folder.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A cargo command in the workspace, with the toolchain that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// `$HEDDLE_CACHE`, else `$XDG_CACHE_HOME/heddle`, else `~/.cache/heddle`.
pub(crate) fn cache() -> Result<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("HEDDLE_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|base| base.join("heddle")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/heddle")))
        .during("no HEDDLE_CACHE, XDG_CACHE_HOME or HOME is set: set HEDDLE_CACHE to a writable folder")
}

/// The compiler that the workspace is built with.
pub(crate) struct Toolchain {
    /// `1.95.0`
    pub(crate) release: String,
    /// First nine digits of the compiler's commit.
    pub(crate) commit: String,
    pub(crate) llvm_major: String,
    pub(crate) sysroot: PathBuf,
}

impl Toolchain {
    pub(crate) fn detect() -> Result<Self> {
        let verbose = process::output(rustc().arg("-vV"))?;
        let field = |name: &str| {
            let line = verbose.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned()).during(format!("rustc -vV shows no `{name}`"))
        };
        let llvm = field("LLVM version:")?;
        let sysroot = process::output(rustc().args(["--print", "sysroot"]))?;
        Ok(Self {
            release: field("release:")?,
            commit: field("commit-hash:")?.chars().take(9).collect(),
            llvm_major: llvm.split('.').next().unwrap_or_default().to_owned(),
            sysroot: PathBuf::from(sysroot.trim()),
        })
    }

    /// What this compiler's things are kept under.
    pub(crate) fn cache(&self) -> Result<PathBuf> {
        Ok(cache()?.join(format!("rustc-{}-{}", self.release, self.commit)))
    }

    /// The shared LLVM that this rustc itself runs on.
    pub(crate) fn libllvm(&self) -> Result<PathBuf> {
        let prefix = format!("libLLVM.so.{}", self.llvm_major);
        let lib = self.sysroot.join("lib");
        let entries = lib.read_dir().during(lib.display())?;
        let found = entries.flatten().find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        found.map(|entry| entry.path()).ok_or_else(|| {
            Failure::new(format!(
                "{} has no {prefix}*: bpf-linker is built against the LLVM of a rustup toolchain, and this compiler has none",
                lib.display()
            ))
        })
    }
}

fn rustc() -> Command {
    let mut command = Command::new("rustc");
    command.current_dir(root());
    command
}
