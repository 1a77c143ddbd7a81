//! Verbs that read a running mesh: `status`, `config`, `explain`, `logs`, `drops`, `bpf`.
//!
//! ```text
//! world (which sandbox, which nodes) ─► ask (admin sockets) ─► status | config | explain | logs | drops | bpf ─► output
//! ```

mod ask;
mod bpf;
mod config;
mod drops;
mod explain;
mod logs;
mod status;
mod world;

use std::io;
use std::process::ExitCode;

use crate::output::Format;
use world::World;

/// Verbs that read a running mesh.
#[derive(clap::Subcommand)]
pub(crate) enum MeshCommand {
    Status(status::Options),
    Config(config::Options),
    Explain(explain::Options),
    Logs(logs::Options),
    Drops(drops::Options),
    Bpf(bpf::Options),
}

/// Which mesh, and how to print what it says.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// Which sandbox to read.
    #[arg(long, value_name = "NAME", default_value = "default")]
    sandbox: String,

    /// How to print it. With json, standard output is JSON and nothing else.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Why a verb failed; the text says what to do where something can be done.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl From<Failure> for io::Error {
    fn from(Failure(message): Failure) -> Self {
        Self::other(message)
    }
}

/// Runs one. Exit status 0: done; 1: the mesh is not there, or not as asked; 2: usage.
pub(crate) fn run(command: &MeshCommand) -> io::Result<ExitCode> {
    match command {
        MeshCommand::Status(options) => status::run(options),
        MeshCommand::Config(options) => config::run(options),
        MeshCommand::Explain(options) => explain::run(options),
        MeshCommand::Logs(options) => logs::run(options),
        MeshCommand::Drops(options) => drops::run(options),
        MeshCommand::Bpf(options) => bpf::run(options),
    }
}

impl Target {
    fn world(&self) -> Result<World, Failure> {
        World::open(&self.sandbox)
    }
}
