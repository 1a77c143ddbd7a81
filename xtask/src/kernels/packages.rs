//! Debian's cloud kernels: the newest of a series, downloaded and unpacked, never installed.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Kernel;
use crate::failure::{During, Result};
use crate::process;
use crate::setup::PrivateApt;
use crate::workspace;

/// An unpacked kernel package.
pub(super) struct Unpacked {
    pub(super) package: String,
    pub(super) kernel: PathBuf,
    pub(super) modules: PathBuf,
}

/// From the cache, else from the mirror.
pub(super) fn ensure(kernel: &Kernel) -> Result<Unpacked> {
    let folder = workspace::cache()?.join("kernels").join(kernel.series);
    if let Ok(unpacked) = open(&folder) {
        return Ok(unpacked);
    }
    let _ = fs::remove_dir_all(&folder);
    let apt = PrivateApt::new(&folder.join("apt"), kernel.sources)?;
    eprintln!("   looking for the newest package of {}", kernel.series);
    if let Err(failure) = apt.update() {
        // One of a series' suites may have moved to the archive; the other is enough.
        eprintln!("   {failure}");
    }
    let mut packages = apt.names(kernel.pattern)?;
    packages.sort_by_key(|name| Reverse(numbers(name)));
    let package = packages.first().during(format!("the mirror has no package {}", kernel.pattern))?;
    let root = folder.join("root");
    fs::create_dir_all(&root).during(root.display())?;
    for part in parts(&apt, package)? {
        eprintln!("   downloading {part}");
        let deb = apt.download(&part)?;
        process::output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root))?;
    }
    let _ = fs::remove_dir_all(folder.join("apt"));
    let name = folder.join("package");
    fs::write(&name, package).during(name.display())?;
    open(&folder)
}

/// The package, and since 6.19 the two that kernel and modules moved to.
fn parts(apt: &PrivateApt, package: &str) -> Result<Vec<String>> {
    let version = package.trim_start_matches("linux-image-");
    let split = ["linux-binary-", "linux-modules-"].map(|prefix| format!("{prefix}{version}"));
    let known = apt.names("^linux-(binary|modules)-")?;
    let split = split.into_iter().filter(|name| known.contains(name));
    Ok([package.to_owned()].into_iter().chain(split).collect())
}

fn open(folder: &Path) -> Result<Unpacked> {
    let package = fs::read_to_string(folder.join("package")).during("not unpacked")?;
    let modules = ["root/lib/modules", "root/usr/lib/modules"].map(|path| folder.join(path));
    let modules = modules.iter().find(|path| path.is_dir()).during("the package has no modules")?;
    let kernel = image(&folder.join("root/boot")).or_else(|| image(&only(modules)?));
    let kernel = kernel.during("the package has no vmlinuz")?;
    Ok(Unpacked { package, kernel, modules: modules.clone() })
}

/// `vmlinuz-VERSION` in `/boot`, or `vmlinuz` beside the modules.
fn image(folder: &Path) -> Option<PathBuf> {
    let mut paths = folder.read_dir().ok()?.flatten().map(|entry| entry.path());
    paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
}

fn only(folder: &Path) -> Option<PathBuf> {
    Some(folder.read_dir().ok()?.flatten().next()?.path())
}

/// The numbers in a name, for an order in which 6.12 comes after 6.2.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn kernels_are_ordered_by_number_and_not_by_letter() {
        let name = |version: &str| numbers(&format!("linux-image-{version}-cloud-amd64"));
        assert!(name("7.2.12+deb13") > name("7.2.9+deb13"));
        assert!(name("6.12.48+deb13") > name("6.2.1"));
        assert!(name("5.10.0-35") > name("5.10.0-9"));
    }
}
