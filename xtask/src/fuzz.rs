//! `cargo xtask fuzz [TARGET…]`: libFuzzer on the decoders of foreign bytes, with a cargo-fuzz of our own cache.

use std::path::PathBuf;

use crate::failure::{During, Failure, Result};
use crate::process;
use crate::setup::{self, Purpose};
use crate::workspace::{self, cargo, root};

const VERSION: &str = "0.13.2";
/// An input that takes longer is a finding.
const SLOWEST: u32 = 10;

/// Runs the targets one after the other, each so long; all where none is named.
pub(crate) fn run(targets: &[String], seconds: u32) -> Result {
    let known = known()?;
    if let Some(unknown) = targets.iter().find(|target| !known.contains(target)) {
        return Err(Failure::new(format!(
            "there is no fuzz target {unknown}; there are {}",
            known.join(", ")
        )));
    }
    let program = ensure()?;
    let chosen = if targets.is_empty() { &known } else { targets };
    for target in chosen {
        eprintln!("fuzz: {target}, {seconds} s");
        let folder = root().join("fuzz");
        let corpus = folder.join("corpus").join(target);
        std::fs::create_dir_all(&corpus).during(corpus.display())?;
        let mut command = std::process::Command::new(&program);
        // libFuzzer's sanitizers are options of an unstable compiler; this one has them too.
        command.current_dir(&folder).env("RUSTC_BOOTSTRAP", "1").args(["run", target]);
        command.arg(&corpus).arg(folder.join("seeds").join(target)).arg("--");
        command.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={SLOWEST}"));
        command.args(["-rss_limit_mb=2048", "-print_final_stats=1"]);
        process::run(&mut command)?;
    }
    Ok(())
}

/// The files in `fuzz/fuzz_targets`.
fn known() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let files = folder.read_dir().during(folder.display())?.flatten().map(|entry| entry.path());
    let name = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<String> = files.filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// cargo-fuzz, built where it lacks: about a minute.
fn ensure() -> Result<PathBuf> {
    let folder = workspace::cache()?.join(format!("cargo-fuzz-{VERSION}"));
    let program = folder.join("bin/cargo-fuzz");
    if program.exists() {
        return Ok(program);
    }
    setup::packages(&[Purpose::Build])?;
    setup::locked(|| {
        eprintln!("setup: cargo-fuzz {VERSION}: building (about a minute)");
        let mut install = cargo();
        install.args(["install", "cargo-fuzz", "--version", VERSION, "--locked", "--root"]).arg(&folder);
        install.arg("--target-dir").arg(folder.join("target")).env_remove("CARGO_TARGET_DIR");
        let result = process::run(&mut install);
        let _ = std::fs::remove_dir_all(folder.join("target"));
        result
    })?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_has_seeds() {
        let targets = super::known().expect("the targets are in the repository");
        assert!(targets.contains(&"saved".to_owned()));
        for target in targets {
            let seeds = super::root().join("fuzz/seeds").join(&target);
            assert!(seeds.is_dir(), "{}", seeds.display());
        }
    }
}
