//! This machine, as the agent's binary finds it.

use std::path::PathBuf;
use std::process::Command;

use super::{Finding, Findings};

const HERE: &str = "this machine";

/// Asks `heddle-agent check`; without one there is nobody who could ask the kernel.
pub(super) fn look(findings: &mut Findings) {
    let agent = agent();
    let found = Command::new(&agent).args(["check", "--pre"]).output();
    let read = match found {
        Ok(output) if output.status.success() => {
            serde_json::from_slice::<Vec<Finding>>(&output.stdout).map_err(|error| error.to_string())
        }
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    };
    match read {
        Ok(found) => {
            findings.0.extend(found.into_iter().map(|finding| Finding { place: HERE.to_owned(), ..finding }))
        }
        Err(error) => findings.fail(
            HERE,
            "agent",
            format!("{} cannot look: {error}", agent.display()),
            "put heddle-agent beside heddle, or point HEDDLE_BIN_DIR at its directory",
        ),
    }
}

/// Where the sandbox finds it too.
fn agent() -> PathBuf {
    let directory = std::env::var_os("HEDDLE_BIN_DIR").map(PathBuf::from);
    let beside = || Some(std::env::current_exe().ok()?.parent()?.to_owned());
    directory.or_else(beside).unwrap_or_default().join("heddle-agent")
}
