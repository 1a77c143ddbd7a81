//! `cargo xtask setup`: brings what the build, the tests and the demo need, once per machine.

mod apt;
mod linker;
mod packages;
mod rust_src;

use std::fs::File;
use std::path::PathBuf;

pub(crate) use apt::PrivateApt;
pub(crate) use packages::{Purpose, is_root};

use crate::failure::{During, Result};
use crate::workspace::{self, Toolchain};

/// What `build-ebpf` needs beside cargo.
pub(crate) struct EbpfTools {
    /// `library/` of this compiler's source.
    pub(crate) library: PathBuf,
    /// Whether that is in the sysroot, where cargo looks by itself.
    pub(crate) in_sysroot: bool,
    pub(crate) linker: PathBuf,
    /// The folder of the LLVM that the linker loads.
    pub(crate) llvm: PathBuf,
}

/// Everything.
pub(crate) fn all() -> Result {
    let tools = ebpf()?;
    println!("setup: rust-src: {}", tools.library.display());
    println!("setup: bpf-linker: {}", tools.linker.display());
    packages(&Purpose::ALL)?;
    println!("setup: Debian packages: all there");
    Ok(())
}

/// The compiler's source and the BPF linker.
pub(crate) fn ebpf() -> Result<EbpfTools> {
    let toolchain = Toolchain::detect()?;
    if let (Some(library), Some(linker)) = (rust_src::present(&toolchain)?, linker::present(&toolchain)?) {
        return tools(&toolchain, library, linker);
    }
    packages(&[Purpose::Build])?;
    let _lock = lock()?;
    let library = rust_src::ensure(&toolchain)?;
    let linker = linker::ensure(&toolchain)?;
    tools(&toolchain, library, linker)
}

/// The programs that these purposes need, installed where they lack.
pub(crate) fn packages(purposes: &[Purpose]) -> Result {
    if packages::missing(purposes).is_empty() {
        return Ok(());
    }
    let _lock = lock()?;
    packages::install(purposes)
}

/// Runs something that fills the shared cache.
pub(crate) fn locked<T>(fill: impl FnOnce() -> Result<T>) -> Result<T> {
    let _lock = lock()?;
    fill()
}

fn tools(toolchain: &Toolchain, library: rust_src::Library, linker: PathBuf) -> Result<EbpfTools> {
    let llvm = toolchain.sysroot.join("lib");
    let (library, in_sysroot) = match library {
        rust_src::Library::Sysroot => (toolchain.sysroot.join(rust_src::IN_SYSROOT), true),
        rust_src::Library::Cached(path) => (path, false),
    };
    Ok(EbpfTools { library, in_sysroot, linker, llvm })
}

/// Held while something is fetched, so that two checkouts do not fetch at once.
fn lock() -> Result<File> {
    let cache = workspace::cache()?;
    std::fs::create_dir_all(&cache).during(cache.display())?;
    let path = cache.join("lock");
    let file = File::create(&path).during(path.display())?;
    if file.try_lock().is_err() {
        eprintln!("setup: waiting for another setup (lock {})", path.display());
        file.lock().during(path.display())?;
    }
    Ok(file)
}
