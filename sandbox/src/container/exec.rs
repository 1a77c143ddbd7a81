//! One more process in a running container, or on a node, with the caller's stdio.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::fabric::Layout;

/// What a command is to run in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Container {
        uid: String,
        container: String,
    },
    /// A node by the process that holds its namespaces (`sandbox.json`).
    Node {
        name: String,
        pid: u32,
        cgroup: PathBuf,
    },
}

/// The command that runs `argv` in the target. Its exit status is the command's own; 125, 126 and 127 also say
/// that it could not be entered, run or found. Works from any process of root's: spawn it, or `exec` it in place.
pub fn exec<S: AsRef<OsStr>>(layout: &Layout, target: &Target, argv: &[S]) -> io::Result<Command> {
    if argv.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command"));
    }
    let mut command = Command::new("/proc/self/exe");
    match target {
        Target::Container { uid, container } => {
            let entry = layout.container_entry(uid, container);
            if !entry.exists() {
                return Err(io::Error::new(
                    io::ErrorKind::NotConnected,
                    format!("container {container} has not started"),
                ));
            }
            command.args(["sandbox-node", "enter"]).arg(entry);
        }
        Target::Node { pid, cgroup, .. } => {
            command.args(["sandbox-node", "join"]);
            command.arg(format!("/proc/{pid}/ns/net")).arg(cgroup.join("host"));
        }
    }
    command.arg("--").args(argv);
    Ok(command)
}
