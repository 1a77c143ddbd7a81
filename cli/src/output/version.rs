//! `heddle version`.

use std::io;
use std::process::ExitCode;

use serde::Serialize;

use super::Format;

/// Print the version of this program.
///
/// The agents' and the controller's versions are those of a running mesh: `heddle status` shows them.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

/// Prints it.
pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let version = Version { version: env!("CARGO_PKG_VERSION") };
    super::print(options.output, &version, |out| writeln!(out, "heddle {}", version.version))
}
