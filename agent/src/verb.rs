//! What `heddle-agent` does besides running: for people on the node, and for `heddle`, which calls it in the agent's pod.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use heddle_proto::admin;

use crate::check::Check;
use crate::remove::Remove;

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Ask the agent that runs on this node, and print its answer.
    Admin(Admin),
    /// Look at what an agent needs of this machine, and print what was found as JSON.
    Check(Check),
    /// Take everything of an agent off this node: programs, maps, mounts, files. Pods that run talk directly again.
    ///
    /// No agent may be running. `heddle uninstall` calls it on each node, behind `heddle-cni remove`.
    Remove(Remove),
}

/// A question to the admin socket.
#[derive(Debug, Args)]
#[command(after_help = "Example: heddle-agent admin GET /status")]
pub struct Admin {
    /// GET to read; POST for /explain, /judge and /log-level.
    #[arg(value_enum, ignore_case = true)]
    method: Method,

    /// For example /status, /config/all, /drops, /bpf.
    path: String,

    /// The question of a POST, in JSON.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,

    /// The agent's admin socket.
    #[arg(
        long,
        env = "HEDDLE_AGENT_ADMIN_SOCKET",
        value_name = "PATH",
        default_value = "/run/heddle/agent.sock"
    )]
    socket: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Method {
    Get,
    Post,
}

impl Verb {
    /// Does it; what went wrong goes to standard error.
    pub fn run(&self) -> ExitCode {
        let done = match self {
            Self::Admin(admin) => admin.run(),
            Self::Check(check) => print(check.run().to_string().as_bytes()),
            Self::Remove(remove) => run_remove(remove),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("heddle-agent: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

fn run_remove(remove: &Remove) -> Result<(), Box<dyn std::error::Error>> {
    let said = remove.run()?;
    match said.as_slice() {
        [] => println!("there was nothing to remove"),
        said => said.iter().for_each(|line| println!("{line}")),
    }
    Ok(())
}

impl Admin {
    fn run(&self) -> Result<(), Box<dyn std::error::Error>> {
        let method = match self.method {
            Method::Get => "GET",
            Method::Post => "POST",
        };
        let answer = admin::ask(&self.socket, method, &self.path, self.data.as_deref())?;
        print(&answer)
    }
}

fn print(answer: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let end: &[u8] = if answer.ends_with(b"\n") { b"" } else { b"\n" };
    match io::stdout().write_all(&[answer, end].concat()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
