//! Puts the eBPF object where `datapath::object` embeds it from.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=HEDDLE_BPF_OBJECT");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("heddle.bpf.o");
    let object = env::var_os("HEDDLE_BPF_OBJECT").map_or_else(default_object, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    let bytes = fs::read(&object).unwrap_or_else(|error| {
        let path = object.display();
        println!("cargo::warning=no eBPF object ({path}: {error}): run cargo xtask build-ebpf");
        Vec::new()
    });
    fs::write(out, bytes).expect("OUT_DIR is writable");
}

/// Where `cargo xtask build-ebpf` leaves it.
fn default_object() -> PathBuf {
    let agent = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    agent.parent().unwrap_or(Path::new(".")).join("target/bpf/heddle.bpf.o")
}
