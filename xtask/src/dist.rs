//! `cargo xtask dist`: the release binaries in an archive whose bytes depend on the sources alone, and its SHA-256.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::binaries::{self, Profile};
use crate::failure::{During, Result};
use crate::process;
use crate::workspace::{root, target_dir};

const BINARIES: [&str; 4] = ["heddle", "heddle-controller", "heddle-agent", "heddle-cni"];

/// Builds, strips, packs, and prints what is where.
pub(crate) fn run() -> Result {
    let built = binaries::build(Profile::Release)?;
    let name = format!("heddle-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
    let folder = target_dir().join("dist");
    let content = folder.join(&name);
    let _ = fs::remove_dir_all(&content);
    fs::create_dir_all(&content).during(content.display())?;
    for binary in BINARIES {
        let to = content.join(binary);
        process::output(Command::new("strip").arg("-o").arg(&to).arg(built.join(binary)))?;
    }
    for text in ["LICENSE", "README.md"] {
        let to = content.join(text);
        fs::copy(root().join(text), &to).during(to.display())?;
    }
    let archive = format!("{name}.tar.gz");
    pack(&folder, &name, &archive)?;
    let sums = process::output(Command::new("sha256sum").arg(&archive).current_dir(&folder))?;
    let file = folder.join(format!("{archive}.sha256"));
    fs::write(&file, &sums).during(file.display())?;
    println!("{}\n{}", folder.join(&archive).display(), sums.trim());
    Ok(())
}

/// In a fixed order, with the commit's time and nobody's user; gzip without a name or time of its own.
fn pack(folder: &Path, name: &str, archive: &str) -> Result {
    let committed =
        process::output(Command::new("git").current_dir(root()).args(["log", "-1", "--format=%ct"]));
    let time = format!("--mtime=@{}", committed.as_deref().map_or("0", str::trim));
    let script = "tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \"$3\" -cf - \"$1\" | gzip -9n > \"$2\"";
    let mut command = Command::new("sh");
    process::output(command.args(["-euc", script, "sh", name, archive, &time]).current_dir(folder)).map(drop)
}
