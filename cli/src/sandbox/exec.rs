//! `exec`: one more process in a pod or on a node, in place of this one.
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use heddle_sandbox::container::{self, Target};
use heddle_sandbox::fabric::Layout;
use heddle_sandbox::server::ApiError;
use serde_json::Value;

use super::{Which, failure, sentence, target};

/// Status of our own failures, which no well-behaved command returns.
const OURS: u8 = 125;

/// Run a command in a pod or on a node.
///
/// Returns the command's status, and 125 when it could not be run.
#[derive(Args)]
pub(crate) struct ExecOptions {
    #[command(flatten)]
    which: Which,
    /// POD, deploy/NAME (or another workload), or node/NODE.
    target: String,
    /// Which container of the pod; its first by default.
    #[arg(short, long)]
    container: Option<String>,
    /// Namespace of the pod.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Accepted as kubectl has it: standard input is always passed on.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Accepted as kubectl has it: the terminal is always this one.
    #[arg(short, long)]
    tty: bool,
    /// The command and its arguments, after --.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(super) fn exec(options: &ExecOptions) -> ExitCode {
    let error = match replace_self(options) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    eprintln!("{}", sentence(&error));
    ExitCode::from(OURS)
}

fn replace_self(options: &ExecOptions) -> Result<std::convert::Infallible, ApiError> {
    let layout = options.which.layout();
    let target = match options.target.strip_prefix("node/") {
        Some(node) => {
            options.which.client()?;
            on_node(&layout, node)?
        }
        None => in_pod(options)?,
    };
    let mut command = container::exec(&layout, &target, &options.command)?;
    Err(command.exec().into())
}

fn in_pod(options: &ExecOptions) -> Result<Target, ApiError> {
    let client = options.which.client()?;
    let pod = target::pod(&client, &options.target, &options.namespace)?;
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    Ok(Target::Container { uid, container: target::container(&pod, options.container.as_deref())? })
}

fn on_node(layout: &Layout, name: &str) -> Result<Target, ApiError> {
    let description: Value = serde_json::from_slice(&std::fs::read(layout.description())?)
        .map_err(|error| failure(format!("{}: {error}", layout.description().display())))?;
    let nodes = description["nodes"].as_array().into_iter().flatten();
    let missing = || failure(format!("nodes \"{name}\" not found"));
    let node = nodes.into_iter().find(|node| node["name"] == name).ok_or_else(missing)?;
    let pid = node["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).ok_or_else(missing)?;
    let cgroup = PathBuf::from(node["cgroup"].as_str().unwrap_or_default());
    Ok(Target::Node { name: name.to_owned(), pid, cgroup })
}
