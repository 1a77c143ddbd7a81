//! `heddle sandbox …`: a Kubernetes-shaped world on this machine, driven as kubectl drives a cluster.
mod apply;
mod change;
mod columns;
mod exec;
mod get;
mod logs;
mod readiness;
mod selection;
mod target;
mod up;
mod wait;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use heddle_sandbox::client::Client;
use heddle_sandbox::fabric::Layout;
use heddle_sandbox::server::ApiError;

/// Run nodes, pods, controller and agents on this machine, without Kubernetes.
#[derive(Subcommand)]
pub(crate) enum SandboxCommand {
    Up(up::UpOptions),
    Down(up::DownOptions),
    Apply(apply::ApplyOptions),
    Delete(apply::DeleteOptions),
    Get(get::GetOptions),
    Label(change::LabelOptions),
    Scale(change::ScaleOptions),
    /// Restart a workload's pods, or follow its rollout.
    #[command(subcommand)]
    Rollout(change::RolloutCommand),
    Wait(wait::WaitOptions),
    Exec(exec::ExecOptions),
    Logs(logs::LogsOptions),
    /// Start or stop a node's agent.
    #[command(subcommand)]
    Agent(change::AgentCommand),
    /// Start or stop the controller.
    #[command(subcommand)]
    Controller(change::ControllerCommand),
}

/// Which sandbox.
#[derive(Args, Clone, Debug)]
pub(crate) struct Which {
    /// The sandbox's name; sandboxes of different names do not meet.
    #[arg(long, default_value = "default", value_parser = name)]
    pub(crate) name: String,
}

impl Which {
    fn layout(&self) -> Layout {
        Layout::new(&self.name)
    }

    fn client(&self) -> Result<Client, ApiError> {
        heddle_sandbox::up::check_root()?;
        Client::open(&self.layout())
    }
}

fn name(text: &str) -> Result<String, String> {
    heddle_sandbox::up::check_name(text).map(|()| text.to_owned())
}

/// Runs a verb. Its own failures exit 1, but for `exec`, whose are 125.
pub(crate) fn run(command: SandboxCommand) -> io::Result<ExitCode> {
    let done = match command {
        SandboxCommand::Up(options) => up::up(&options),
        SandboxCommand::Down(options) => up::down(&options),
        SandboxCommand::Apply(options) => apply::apply(&options),
        SandboxCommand::Delete(options) => apply::delete(&options),
        SandboxCommand::Get(options) => get::get(&options),
        SandboxCommand::Label(options) => change::label(&options),
        SandboxCommand::Scale(options) => change::scale(&options),
        SandboxCommand::Rollout(options) => change::rollout(&options),
        SandboxCommand::Wait(options) => wait::wait(&options),
        SandboxCommand::Exec(options) => return Ok(exec::exec(&options)),
        SandboxCommand::Logs(options) => logs::logs(&options),
        SandboxCommand::Agent(options) => change::agent(&options),
        SandboxCommand::Controller(options) => change::controller(&options),
    };
    match done {
        Ok(code) => Ok(code),
        // The reader of stdout has seen enough: main ends quietly.
        Err(error) if error.message.contains("Broken pipe") => Err(io::ErrorKind::BrokenPipe.into()),
        Err(error) => {
            complain(&error);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn complain(error: &ApiError) {
    let _ = writeln!(io::stderr(), "{}", sentence(error));
}

/// As kubectl words a refusal.
fn sentence(error: &ApiError) -> String {
    match error.reason.as_str() {
        "NotFound" | "AlreadyExists" | "Conflict" | "Forbidden" => {
            format!("Error from server ({}): {}", error.reason, error.message)
        }
        "Invalid" => format!("The {}", error.message),
        _ => format!("error: {}", error.message),
    }
}

fn failure(message: impl Into<String>) -> ApiError {
    ApiError { reason: "Failure".to_owned(), message: message.into() }
}

fn say(line: &str) -> Result<(), ApiError> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
