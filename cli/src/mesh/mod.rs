//! Verbs that read a running mesh: `status`, `config`, `explain`, `logs`, `drops`, `bpf`.
//!
//! ```text
//! which ─► world ─┬─► sandbox ─► ask: admin sockets of this machine ─┬─► status | config | explain | logs | drops | bpf ─► output
//!                 └─► cluster ─► admin verbs in the pods, by exec   ─┘
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

pub(crate) use crate::failure::Failure;
use crate::output::Format;
use crate::which::Which;
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
    #[command(flatten)]
    which: Which,

    /// How to print it. With json, standard output is JSON and nothing else.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
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
        World::open(&self.which)
    }
}
