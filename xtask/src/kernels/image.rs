//! The initramfs: busybox, ip, the agent and the tests of its datapath with the libraries that they need, the modules for
//! veth and tc, and an init that runs them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Programs;
use super::archive::Archive;
use super::packages::Unpacked;
use crate::failure::{During, Result};
use crate::process;

/// Modules in Debian's cloud kernels; built in where the file is missing.
const MODULES: [&str; 5] = ["veth", "sch_ingress", "cls_bpf", "tcp_diag", "inet_diag"];
const INIT: &str = include_str!("init.sh");

/// A copy without debug information: the whole archive is unpacked into the guest's memory.
pub(super) fn stripped(program: &Path, folder: &Path) -> Result<PathBuf> {
    let stripped = folder.join(program.file_name().during("a program has a name")?);
    process::output(Command::new("strip").arg("-o").arg(&stripped).arg(program))?;
    Ok(stripped)
}

pub(super) fn initramfs(kernel: &Unpacked, programs: &Programs) -> Result<Vec<u8>> {
    let mut files = Files::default();
    files.program("bin/busybox", &process::find_program("busybox").during("no busybox")?)?;
    files.program("usr/sbin/ip", &process::find_program("ip").during("no ip")?)?;
    files.program("bin/heddle-agent", &programs.agent)?;
    files.program("bin/datapath", &programs.datapath)?;
    for module in MODULES {
        if let Some(path) = find(&kernel.modules, module) {
            files.add(&format!("modules/{module}.ko"), plain(&path)?);
        }
    }
    files.add("init", INIT.as_bytes().to_vec());
    Ok(files.archive())
}

/// Files by their place in the guest.
#[derive(Default)]
struct Files {
    files: Vec<(String, Vec<u8>)>,
}

impl Files {
    fn add(&mut self, name: &str, content: Vec<u8>) {
        if !self.files.iter().any(|(known, _)| known == name) {
            self.files.push((name.to_owned(), content));
        }
    }

    /// A program, and the shared libraries that the loader would give it, each at its own place.
    fn program(&mut self, name: &str, path: &Path) -> Result {
        self.add(name, fs::read(path).during(path.display())?);
        // ldd fails for a static program, which needs nothing.
        let libraries = process::output(Command::new("ldd").arg(path)).unwrap_or_default();
        for word in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            self.add(word.trim_start_matches('/'), fs::read(word).during(word)?);
        }
        Ok(())
    }

    fn archive(self) -> Vec<u8> {
        let mut folders: BTreeSet<PathBuf> = ["proc", "sys", "dev", "run", "tmp"].map(PathBuf::from).into();
        for (name, _) in &self.files {
            folders.extend(
                Path::new(name)
                    .ancestors()
                    .skip(1)
                    .filter(|path| path.iter().count() > 0)
                    .map(Path::to_owned),
            );
        }
        let mut archive = Archive::new();
        for folder in &folders {
            archive.folder(&folder.to_string_lossy());
        }
        for (name, content) in &self.files {
            archive.program(name, content);
        }
        archive.finish()
    }
}

/// `name.ko`, `name.ko.xz` or `name.ko.zst` anywhere below.
fn find(folder: &Path, module: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = folder.read_dir().ok()?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries.iter().find_map(|path| {
        if path.is_dir() {
            return find(path, module);
        }
        let name = path.file_name()?.to_str()?;
        let rest = name.strip_prefix(module)?;
        rest.starts_with(".ko").then(|| path.clone())
    })
}

/// The module, uncompressed: busybox inserts no others.
fn plain(path: &Path) -> Result<Vec<u8>> {
    let unpack = match path.extension().and_then(|ext| ext.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).during(path.display()),
    };
    let output = Command::new(unpack).arg("-dc").arg(path).output().during(unpack)?;
    Ok(output.stdout)
}
