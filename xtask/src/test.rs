//! `cargo xtask test [unit|sandbox|kernels]`; without a word, all that CI runs.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::binaries::{self, Profile};
use crate::failure::{During, Failure, Result};
use crate::setup::{self, Purpose};
use crate::tally::Tally;
use crate::workspace::cargo;
use crate::{ci, ebpf, kernels};

/// Which tests.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Suite {
    /// Every crate's own tests
    Unit,
    /// Real processes in network namespaces; needs root
    Sandbox,
    /// Debian's kernels under QEMU
    Kernels,
}

/// Runs a suite, or everything, and ends with the counts.
pub(crate) fn run(suite: Option<Suite>, filter: &[String]) -> Result {
    let mut tally = Tally::default();
    match suite {
        None => return ci::run(),
        Some(Suite::Unit) => tally.tests("unit tests", || unit(filter)),
        Some(Suite::Sandbox) => tally.tests("sandbox tests", || sandbox(filter)),
        Some(Suite::Kernels) => tally.tests("kernels", || kernels::run(filter)),
    }
    tally.close()
}

/// Every crate's tests but those that need a sandbox.
pub(crate) fn unit(filter: &[String]) -> Result<Tally> {
    ebpf::build()?;
    let mut command = cargo();
    command.args(["test", "--workspace", "--exclude", "heddle-tests", "--no-fail-fast", "--"]).args(filter);
    counted(&mut command)
}

/// The tests crate, on binaries of the same profile.
pub(crate) fn sandbox(filter: &[String]) -> Result<Tally> {
    setup::packages(&[Purpose::Sandbox, Purpose::Tests])?;
    if !setup::is_root() {
        return Err(Failure::new("the sandbox makes network namespaces and loads eBPF: run this as root"));
    }
    let folder = binaries::build_with_tests(Profile::Debug)?;
    let mut command = cargo();
    command
        .args(["test", "--package", "heddle-tests", "--no-fail-fast", "--", "--test-threads", "2"])
        .args(filter);
    counted(command.env("HEDDLE_BIN_DIR", folder))
}

/// Runs `cargo test`, passes its output on and adds up the lines that end each test binary.
fn counted(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().during("cargo test")?;
    let mut tally = Tally::default();
    let stdout = child.stdout.take().during("cargo test has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.during("cargo test")?;
        if let Some(counts) = result_line(&line) {
            tally.add(counts);
        }
        println!("{line}");
    }
    let status = child.wait().during("cargo test")?;
    if !status.success() && tally.failed == 0 {
        return Err(Failure::new(format!("cargo test: {status}")));
    }
    Ok(tally)
}

/// `test result: ok. 4 passed; 0 failed; 1 ignored; …`
fn result_line(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |name: &str| {
        let part = counts.split("; ").find_map(|part| part.strip_suffix(name))?;
        part.trim().parse().ok()
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::{Tally, result_line};

    #[test]
    fn the_line_that_ends_a_test_binary_is_read() {
        let line = "test result: FAILED. 4 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 64.56s";
        assert_eq!(result_line(line), Some(Tally { passed: 4, failed: 2, skipped: 1 }));
        assert_eq!(result_line("test result_line_is_read ... ok"), None);
    }
}
