//! `cargo xtask dist`: what is given to others, with the same bytes for the same commit on the same machine.
//!
//! They follow from the sources, the pinned compiler, the C library and the CA bundle; and from where the checkout and cargo's sources lie,
//! because what panics names its file. Whoever compares across machines puts both at the same place, as a container does.
//!
//! ```text
//! binaries ──► strip ─┬─► archive (tar.gz)                                   ┐
//!                     └─► rootfs: a binary and what it needs ─► image (OCI)  ├─► checksums
//! manifests ──► rendered (heddle.yaml)        Cargo.lock ──► sbom            ┘
//! ```

mod archive;
mod checksums;
mod image;
mod rendered;
mod rootfs;
mod sbom;
mod stamp;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;
use std::process::Command;

use self::image::Image;
use self::stamp::Stamp;
use crate::binaries::{self, Profile};
use crate::failure::{During, Result};
use crate::process;
use crate::setup::{self, Purpose};
use crate::workspace::{root, target_dir};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Whose programs these are.
const PACKAGES: [&str; 4] = ["heddle-agent", "heddle-cli", "heddle-cni", "heddle-controlplane"];
const BINARIES: [&str; 4] = ["heddle", "heddle-controller", "heddle-agent", "heddle-cni"];

/// Builds, strips, packs, and prints what is where.
pub(crate) fn run(profile: Profile) -> Result {
    setup::packages(&[Purpose::Dist])?;
    let built = binaries::build(profile)?;
    // What is for trying out is not taken for a release.
    let folder = target_dir().join(if profile == Profile::Release { "dist" } else { "dist-debug" });
    let _ = fs::remove_dir_all(&folder);
    let stamp = Stamp::of_commit(root())?;
    let name = format!("heddle-{VERSION}-{}-linux", std::env::consts::ARCH);
    let content = folder.join(&name);
    fs::create_dir_all(&content).during(content.display())?;
    for binary in BINARIES {
        strip(&built.join(binary), &content.join(binary))?;
    }
    for image in Image::ALL {
        let archive = image.archive(&content, &stamp)?;
        write(&folder.join(image.file_name()), &archive)?;
    }
    for text in ["LICENSE", "README.md"] {
        let to = content.join(text);
        fs::copy(root().join(text), &to).during(to.display())?;
    }
    let mut files = archive::folder(&content, &name)?;
    files.extend(archive::folder(&root().join("manifests"), &format!("{name}/manifests"))?);
    let archive = archive::gzip(&archive::tar(&files, stamp.seconds)?)?;
    write(&folder.join(format!("{name}.tar.gz")), &archive)?;
    write(&folder.join("heddle.yaml"), rendered::kustomization(&root().join("manifests"))?.as_bytes())?;
    write(&folder.join(format!("heddle-{VERSION}.cdx.json")), sbom::document(&stamp)?.as_bytes())?;
    fs::remove_dir_all(&content).during(content.display())?;
    print!("{}", checksums::write(&folder)?);
    println!("in {}", folder.display());
    Ok(())
}

fn strip(from: &Path, to: &Path) -> Result {
    process::output(Command::new("strip").arg("-o").arg(to).arg(from)).map(drop)
}

fn write(path: &Path, bytes: &[u8]) -> Result {
    fs::write(path, bytes).during(path.display())
}
