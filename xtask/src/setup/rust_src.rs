//! The source of exactly this compiler's `core`, which build-std compiles for the BPF target.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::PrivateApt;
use crate::failure::{During, Failure, Result};
use crate::process;
use crate::workspace::Toolchain;

pub(super) const IN_SYSROOT: &str = "lib/rustlib/src/rust/library";

/// Where Debian may carry this release; versions age out, so more than one.
const SUITES: [&str; 5] = ["trixie-backports", "forky", "forky-backports", "trixie", "sid"];

pub(super) enum Library {
    Sysroot,
    Cached(PathBuf),
}

/// What is there without fetching anything.
pub(super) fn present(toolchain: &Toolchain) -> Result<Option<Library>> {
    if toolchain.sysroot.join(IN_SYSROOT).join("Cargo.lock").exists() {
        return Ok(Some(Library::Sysroot));
    }
    let cached = toolchain.cache()?.join("library");
    Ok(cached.join("Cargo.lock").exists().then_some(Library::Cached(cached)))
}

/// The sysroot, the cache, rustup, Debian: the first that has it.
pub(super) fn ensure(toolchain: &Toolchain) -> Result<Library> {
    if let Some(library) = present(toolchain)? {
        return Ok(library);
    }
    let release = &toolchain.release;
    eprintln!("setup: rust-src {release}: asking rustup");
    if from_rustup()
        && let Some(library) = present(toolchain)?
    {
        return Ok(library);
    }
    eprintln!("setup: rust-src {release}: rustup does not have it here; asking Debian");
    let reasons = match from_debian(toolchain) {
        Ok(()) => return present(toolchain)?.during("rust-src was unpacked and is not there"),
        Err(failure) => failure,
    };
    Err(Failure::new(format!(
        "no rust-src of rustc {release}: {reasons}\nRun `rustup component add rust-src`, or put the compiler's `library/` folder at {}",
        toolchain.cache()?.join("library").display()
    )))
}

fn from_rustup() -> bool {
    let mut command = Command::new("timeout");
    command.args(["60", "rustup", "component", "add", "rust-src"]).current_dir(crate::workspace::root());
    process::find_program("rustup").is_some() && process::output(&mut command).is_ok()
}

fn from_debian(toolchain: &Toolchain) -> Result {
    let scratch = toolchain.cache()?.join("apt");
    let mut reasons = String::new();
    for suite in SUITES {
        match from_suite(toolchain, &scratch, suite) {
            Ok(()) => {
                let _ = fs::remove_dir_all(&scratch);
                return Ok(());
            }
            Err(failure) => reasons.push_str(&format!("\n  Debian {suite}: {failure}")),
        }
    }
    Err(Failure::new(reasons))
}

fn from_suite(toolchain: &Toolchain, scratch: &Path, suite: &str) -> Result {
    let _ = fs::remove_dir_all(scratch);
    let apt = PrivateApt::new(scratch, &[("", &format!("{suite} main"))])?;
    apt.update()?;
    let wanted = format!("{}+", toolchain.release);
    let version = apt.versions("rust-src")?.into_iter().find(|version| version.starts_with(&wanted));
    let version = version.during(format!("no rust-src {}", toolchain.release))?;
    eprintln!("setup: rust-src {version}: downloading from Debian {suite} (45 MB, unpacked, not installed)");
    let deb = apt.download(&format!("rust-src={version}"))?;
    unpack(toolchain, &deb, &scratch.join("unpacked"))
}

/// Only `library/`, without the crates that std vendors: `core` needs none of them.
fn unpack(toolchain: &Toolchain, deb: &Path, scratch: &Path) -> Result {
    let inside = format!("./usr/src/rustc-{}/library", toolchain.release);
    fs::create_dir_all(scratch).during(scratch.display())?;
    process::output(
        Command::new("sh")
            .args(["-euc", "dpkg-deb --fsys-tarfile \"$1\" | tar -x -C \"$2\" --no-same-owner --exclude=\"$3/vendor\" \"$3\"", "sh"])
            .arg(deb)
            .arg(scratch)
            .arg(&inside),
    )?;
    let library = toolchain.cache()?.join("library");
    let _ = fs::remove_dir_all(&library);
    fs::rename(scratch.join(&inside), &library).during(library.display())
}
