//! `up` and `down`.
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use heddle_sandbox::client::Client;
use heddle_sandbox::images::ImageMap;
use heddle_sandbox::server::ApiError;
use heddle_sandbox::up::{self, MeshPlan, Plan};

use super::apply::{self, Sources};
use super::wait::{self, Goal};
use super::{Which, failure};
use crate::duration;

/// Start a sandbox and wait until its pods are ready.
///
/// The real controller, agents and eBPF run in network namespaces that stand for nodes and pods.
#[derive(Args)]
pub(crate) struct UpOptions {
    #[command(flatten)]
    which: Which,
    /// How many nodes: node-1, node-2 …
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    nodes: u8,
    /// Manifests to apply: a file, a directory, or - for standard input.
    #[arg(short, long = "filename", value_name = "FILE|DIR|-")]
    file: Vec<String>,
    /// Namespace of objects that name none.
    #[arg(short, long)]
    namespace: Option<String>,
    /// What runs for an image: NAME matches with or without registry and tag, PROGRAM replaces its entrypoint.
    #[arg(long, value_name = "NAME=PROGRAM")]
    image: Vec<String>,
    /// Passed on to every agent.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    agent_arg: Vec<String>,
    /// Passed on to the controller.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    controller_arg: Vec<String>,
    /// Nodes and pods only: no controller, no agents.
    #[arg(long)]
    no_mesh: bool,
    /// How long the pods may take to be ready.
    #[arg(long, default_value = "120s", value_parser = duration::parse)]
    timeout: std::time::Duration,
}

/// End a sandbox and remove all that it left.
#[derive(Args)]
pub(crate) struct DownOptions {
    #[command(flatten)]
    which: Which,
}

pub(super) fn up(options: &UpOptions) -> Result<ExitCode, ApiError> {
    up::check_root()?;
    let images = images(&options.image)?;
    let sources = Sources::read(&options.file, false)?;
    let mesh = match options.no_mesh {
        true => None,
        false => Some(MeshPlan::find(options.controller_arg.clone(), options.agent_arg.clone())?),
    };
    let plan = Plan { name: options.which.name.clone(), nodes: options.nodes, images, mesh };
    let daemon = up::start(&plan, progress)?;
    let client = Client::open(&options.which.layout())?;
    if !options.file.is_empty() {
        progress("Applying manifests");
        let show = |line: &str| progress(&format!("  {line}"));
        if !apply::send(&client, &sources, options.namespace.clone(), &ImageMap::default(), show)? {
            return Err(failure("the sandbox was taken down again: its manifests have errors"));
        }
    }
    progress("Waiting for pods");
    wait::until(&client, &Goal::AllReady { namespace: None }, options.timeout)?;
    if plan.mesh.is_some() {
        progress("Waiting for the agents");
        wait::until(&client, &Goal::Synced { version: None }, options.timeout)?;
    }
    daemon.keep()?;
    progress(&format!("Sandbox \"{}\" is up", plan.name));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn down(options: &DownOptions) -> Result<ExitCode, ApiError> {
    up::check_root()?;
    let name = &options.which.name;
    match up::down(&options.which.layout())? {
        true => progress(&format!("Sandbox \"{name}\" is down")),
        false => progress(&format!("Sandbox \"{name}\" was not up")),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn images(options: &[String]) -> Result<ImageMap, ApiError> {
    let mut images = ImageMap::default();
    for option in options {
        images.add(option).map_err(|error| failure(error.to_string()))?;
    }
    Ok(images)
}

fn progress(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
