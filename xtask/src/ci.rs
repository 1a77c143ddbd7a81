//! `cargo xtask ci`: what must hold before a change lands.

use std::process::Command;

use crate::failure::{Failure, Result};
use crate::setup::Purpose;
use crate::tally::Tally;
use crate::workspace::{cargo, root};
use crate::{codegen, ebpf, kernels, process, setup, test, tidy};

/// Kernels that CI boots: the oldest that can enrol and the newest of Debian stable's life.
const KERNELS: [&str; 2] = ["6.1", "6.12"];

/// Runs everything, also after a failure, and ends with the counts.
pub(crate) fn run() -> Result {
    // Named and installed at once, before anything is built.
    setup::packages(&Purpose::ALL)?;
    let mut tally = Tally::default();
    tally.step("formatting", || process::run(cargo().args(["fmt", "--all", "--check"])));
    tally.step("tidy", tidy::run);
    tally.step("generated files", generated);
    tally.step("eBPF object", || ebpf::build().map(drop));
    tally.step("clippy", || {
        process::run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    tally.tests("unit tests", || test::unit(&[]));
    tally.tests("sandbox tests", || test::sandbox(&[]));
    tally.tests("kernels", || kernels::run(&KERNELS.map(str::to_owned)));
    tally.close()
}

/// Regenerates the committed files and wants none of them to change.
fn generated() -> Result {
    let before = git_status()?;
    codegen::run()?;
    let after = git_status()?;
    if before == after {
        return Ok(());
    }
    Err(Failure::new(format!("`cargo xtask codegen` changes committed files; commit them:\n{after}")))
}

fn git_status() -> Result<String> {
    process::output(Command::new("git").current_dir(root()).args(["diff", "--stat"]))
}
