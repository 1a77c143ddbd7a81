//! `label`, `scale`, `rollout`, and the mesh's own processes.
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use heddle_sandbox::client::Client;
use heddle_sandbox::server::{ApiError, Label, Named, Process, Scale};
use serde_json::Value;

use super::selection::Selection;
use super::wait::{self, Goal};
use super::{Which, complain, failure, say, target};
use crate::duration;

/// Set (k=v) or remove (k-) labels.
#[derive(Args)]
pub(crate) struct LabelOptions {
    #[command(flatten)]
    which: Which,
    /// KIND NAME…, KIND/NAME…, or KIND with --all or -l; then k=v to set and k- to remove.
    #[arg(required = true, num_args = 1.., value_name = "KIND NAME k=v k-")]
    words: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Change labels that have another value.
    #[arg(long)]
    overwrite: bool,
}

/// Set how many pods a workload has.
#[derive(Args)]
pub(crate) struct ScaleOptions {
    #[command(flatten)]
    which: Which,
    /// KIND NAME…, KIND/NAME…, or KIND with --all or -l.
    #[arg(required = true, num_args = 1..)]
    object: Vec<String>,
    /// How many.
    #[arg(long)]
    replicas: i64,
    #[command(flatten)]
    selection: Selection,
}

#[derive(Subcommand)]
pub(crate) enum RolloutCommand {
    /// Replace every pod of a workload, within its update strategy.
    Restart(RolloutOptions),
    /// Follow a rollout until it is done.
    Status(RolloutOptions),
}

#[derive(Args)]
pub(crate) struct RolloutOptions {
    #[command(flatten)]
    which: Which,
    /// KIND NAME…, KIND/NAME…, or KIND with --all or -l.
    #[arg(required = true, num_args = 1..)]
    object: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// How long to follow.
    #[arg(long, default_value = "120s", value_parser = duration::parse)]
    timeout: Duration,
}

#[derive(Subcommand)]
pub(crate) enum AgentCommand {
    /// Start the agent of a node.
    Start(AgentOptions),
    /// Stop it: SIGTERM, and SIGKILL when it does not end.
    Stop(AgentOptions),
    /// Stop and start it.
    Restart(AgentOptions),
}

#[derive(Args)]
pub(crate) struct AgentOptions {
    #[command(flatten)]
    which: Which,
    /// The node's name.
    node: String,
}

#[derive(Subcommand)]
pub(crate) enum ControllerCommand {
    /// Start the controller.
    Start(Which),
    /// Stop it: SIGTERM, and SIGKILL when it does not end.
    Stop(Which),
    /// Stop and start it.
    Restart(Which),
}

pub(super) fn label(options: &LabelOptions) -> Result<ExitCode, ApiError> {
    let client = options.which.client()?;
    // No name has a '=' in it or ends with a '-'.
    let is_change = |word: &&String| word.contains('=') || word.ends_with('-');
    let (changes, words): (Vec<&String>, Vec<&String>) = options.words.iter().partition(is_change);
    let (mut set, mut remove) = (BTreeMap::new(), Vec::new());
    for change in &changes {
        match change.split_once('=') {
            Some((key, value)) => {
                set.insert(key.to_owned(), value.to_owned());
            }
            None => remove.push(change.trim_end_matches('-').to_owned()),
        }
    }
    if changes.is_empty() {
        return Err(failure("at least one label update is required: k=v or k-"));
    }
    let words: Vec<String> = words.into_iter().cloned().collect();
    let objects = options.selection.some(&client, &words)?;
    each(objects, |object| {
        let overwrite = options.overwrite;
        done(&client, "label", &Label { object, set: set.clone(), remove: remove.clone(), overwrite })
    })
}

pub(super) fn scale(options: &ScaleOptions) -> Result<ExitCode, ApiError> {
    let client = options.which.client()?;
    let objects = options.selection.some(&client, &options.object)?;
    each(objects, |object| done(&client, "scale", &Scale { object, replicas: options.replicas }))
}

pub(super) fn rollout(command: &RolloutCommand) -> Result<ExitCode, ApiError> {
    let (RolloutCommand::Restart(options) | RolloutCommand::Status(options)) = command;
    let client = options.which.client()?;
    let objects = options.selection.some(&client, &options.object)?;
    each(objects, |object| match command {
        RolloutCommand::Restart(_) => done(&client, "restart", &object),
        RolloutCommand::Status(_) => follow(&client, object, options.timeout),
    })
}

/// Does it to every object, after a failure too.
fn each(
    objects: Vec<Named>,
    mut act: impl FnMut(Named) -> Result<(), ApiError>,
) -> Result<ExitCode, ApiError> {
    let mut code = ExitCode::SUCCESS;
    for object in objects {
        if let Err(error) = act(object) {
            complain(&error);
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn follow(client: &Client, object: Named, timeout: Duration) -> Result<(), ApiError> {
    let kind = target::kind_of(&object.kind)?;
    if !matches!(kind.kind, "Deployment" | "StatefulSet" | "DaemonSet") {
        return Err(failure(format!("no rollout of {} to follow", kind.qualified())));
    }
    let mut last = String::new();
    let goal = Goal::RolledOut { object };
    wait::following(client, &goal, timeout, |sentence| {
        if *sentence != *last {
            last = sentence.to_owned();
            let _ = say(sentence);
        }
    })
}

pub(super) fn agent(command: &AgentCommand) -> Result<ExitCode, ApiError> {
    let (options, start, stop, word) = match command {
        AgentCommand::Start(options) => (options, true, false, "started"),
        AgentCommand::Stop(options) => (options, false, true, "stopped"),
        AgentCommand::Restart(options) => (options, true, true, "restarted"),
    };
    let process = Process { node: Some(options.node.clone()), start, stop };
    options.which.client()?.call::<Value>("agent", &process)?;
    say(&format!("agent of {} {word}", options.node))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn controller(command: &ControllerCommand) -> Result<ExitCode, ApiError> {
    let (which, start, stop, word) = match command {
        ControllerCommand::Start(which) => (which, true, false, "started"),
        ControllerCommand::Stop(which) => (which, false, true, "stopped"),
        ControllerCommand::Restart(which) => (which, true, true, "restarted"),
    };
    which.client()?.call::<Value>("controller", &Process { node: None, start, stop })?;
    say(&format!("controller {word}"))?;
    Ok(ExitCode::SUCCESS)
}

fn done(client: &Client, verb: &str, request: &impl serde::Serialize) -> Result<(), ApiError> {
    let answer: Value = client.call(verb, request)?;
    say(answer["done"].as_str().unwrap_or_default())
}
