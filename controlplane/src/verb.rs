//! What `heddle-controller` does besides running: for people beside it, and for `heddle`, which calls it in the controller's pod.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use heddle_proto::admin;

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Ask the controller that runs here, and print its answer.
    Admin(Admin),
}

/// A question to the admin socket.
#[derive(Debug, Args)]
#[command(after_help = "Example: heddle-controller admin GET /status")]
pub struct Admin {
    /// GET: nothing can be set.
    #[arg(value_enum, ignore_case = true)]
    method: Method,

    /// For example /status, /index, /metrics.
    path: String,

    /// The controller's admin socket.
    #[arg(
        long,
        env = "HEDDLE_CONTROLLER_ADMIN_SOCKET",
        value_name = "PATH",
        default_value = "/run/heddle-controller/admin.sock"
    )]
    socket: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Method {
    Get,
}

impl Verb {
    /// Does it; what went wrong goes to standard error.
    pub fn run(&self) -> ExitCode {
        let done = match self {
            Self::Admin(admin) => admin.run(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("heddle-controller: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Admin {
    fn run(&self) -> Result<(), Box<dyn std::error::Error>> {
        let Method::Get = self.method;
        let mut answer = admin::ask(&self.socket, "GET", &self.path, None)?;
        if !answer.ends_with(b"\n") {
            answer.push(b'\n');
        }
        match io::stdout().write_all(&answer) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}
