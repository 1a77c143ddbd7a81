//! `cargo xtask build-ebpf`: `ebpf/` → `target/bpf/heddle.bpf.o`, the same bytes in whatever folder it is built.

mod report;
mod strip;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::failure::{During, Failure, Result};
use crate::setup::{self, EbpfTools};
use crate::workspace;

const TARGET: &str = "bpfel-unknown-none";

/// Builds, and prints the programs.
pub(crate) fn run() -> Result {
    let object = build()?;
    let bytes = fs::read(&object).during(object.display())?;
    let mut rows = report::rows(&bytes)?;
    let loaded = report::verify(&bytes, &mut rows);
    println!("{}", report::heading());
    for row in &rows {
        println!("{row}");
    }
    println!("{} ({} bytes)", object.display(), bytes.len());
    if let Err(failure) = loaded {
        println!("not verified by this kernel (that needs root): {failure}");
    }
    Ok(())
}

/// Builds and returns the object. Cargo's own fingerprints make a second call cheap, and the file is only written when its
/// bytes change, so that nothing that embeds it is rebuilt without need.
pub(crate) fn build() -> Result<PathBuf> {
    let tools = setup::ebpf()?;
    let bytes = compile(workspace::root(), &workspace::target_dir().join("ebpf"), &tools)?;
    // Where the agent's build looks, whatever CARGO_TARGET_DIR says.
    let folder = workspace::root().join("target/bpf");
    let object = folder.join("heddle.bpf.o");
    if fs::read(&object).is_ok_and(|old| old == bytes) {
        return Ok(object);
    }
    fs::create_dir_all(&folder).during(folder.display())?;
    let temporary = folder.join(".heddle.bpf.o");
    fs::write(&temporary, &bytes).during(temporary.display())?;
    fs::rename(&temporary, &object).during(object.display())?;
    Ok(object)
}

/// Compiles `ebpf/` of the checkout at `root` into `target`, and returns the stripped object.
fn compile(root: &Path, target: &Path, tools: &EbpfTools) -> Result<Vec<u8>> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root.join("ebpf"))
        .args(["build", "--release", "-Z", "build-std=core", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(target)
        // aya-ebpf uses asm_experimental_arch; build-std is unstable too. Only this child may use either.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &tools.linker)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(root, target, tools))
        .env("LD_LIBRARY_PATH", &tools.llvm)
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if !tools.in_sysroot {
        // Cargo's own switch for a standard library that is not in the sysroot.
        cargo.env("__CARGO_TESTS_ONLY_SRC_ROOT", &tools.library);
    }
    let output = cargo.output().during("cargo")?;
    if !output.status.success() {
        return Err(Failure::new("ebpf/ does not build"));
    }
    let executable = executable(&String::from_utf8_lossy(&output.stdout)).during("ebpf/ built no object")?;
    strip::strip(&fs::read(&executable).during(executable.display())?)
}

/// No path of the machine may reach the object: debug info and panic locations name files. Separated by the unit separator,
/// so that folders may have spaces.
fn rust_flags(root: &Path, target: &Path, tools: &EbpfTools) -> String {
    let mut flags =
        ["--cfg=bpf_target_arch=\"x86_64\"", "-Cdebuginfo=2", "-Clink-arg=--btf"].map(str::to_owned).to_vec();
    let mut remap =
        |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    if let Some(cargo_home) = env::var_os("CARGO_HOME").map(PathBuf::from).or(home) {
        remap(&cargo_home, "/cargo");
    }
    // Of two that match the later one counts: the deepest come last.
    remap(&tools.llvm, "/rust/lib");
    remap(&tools.library, "/rust/library");
    remap(root, "/heddle");
    remap(target, "/heddle/target/ebpf");
    flags.join("\u{1f}")
}

/// The file that cargo's messages name.
fn executable(messages: &str) -> Option<PathBuf> {
    let values = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    values.filter_map(|value| value["executable"].as_str().map(PathBuf::from)).next_back()
}
