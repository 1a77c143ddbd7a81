//! `cargo xtask codegen`: writes the generated files that are committed. Manifests and CRDs join as they come.

use crate::failure::Result;
use crate::tidy;

/// Writes all of them.
pub(crate) fn run() -> Result {
    tidy::record_abi()
}
