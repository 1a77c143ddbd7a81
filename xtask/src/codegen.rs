//! `cargo xtask codegen`: writes the generated files that are committed.

use crate::failure::Result;
use crate::workspace::cargo;
use crate::{process, tidy};

/// Writes all of them: the record of the kernel boundary, and the manifests that follow from the code.
pub(crate) fn run() -> Result {
    tidy::record_abi()?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "heddle-controlplane", "--example", "generated-manifests"]);
    process::run(&mut command)
}
