//! The hidden verbs by which the sandbox runs its own program again inside namespaces and cgroups.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use crate::{container, fabric, images, kubelet, up};

/// Serves `sandbox-node VERB …`; `None` when the arguments (without the program's name) are somebody else's.
/// Call it first in main, before any thread exists: a mount namespace can only be joined by a process of one thread.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter();
    if args.next()? != "sandbox-node" {
        return None;
    }
    let verb = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    let result = match verb.to_str() {
        Some("pause") => fabric::pause::main(),
        Some("join") => container::enter::join(&rest),
        Some("prober") => kubelet::prober::main(),
        Some("daemon") => up::daemon::main(),
        Some("app") => images::app::main(&rest),
        Some("enter") => container::enter::enter(&rest),
        _ => Err(io::Error::other(format!("unknown internal verb {}", verb.display()))),
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heddle: {error}");
            ExitCode::from(container::enter::exit_code(&error))
        }
    })
}
