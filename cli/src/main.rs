//! `heddle`: what people type.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod analyze;
mod check;
mod cluster;
mod duration;
mod failure;
mod install;
mod mesh;
mod output;
mod sandbox;
mod uninstall;
mod validate;
mod which;

/// Heddle, a service mesh without sidecars.
///
/// An agent on each node takes the place of the sidecars: eBPF hands it the connections of enrolled pods, and it
/// carries them through mutual TLS. Manifests of Istio and Kubernetes are taken as they are.
#[derive(Parser)]
#[command(name = "heddle", version, arg_required_else_help = true, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Install(install::Options),
    Uninstall(uninstall::Options),
    Check(check::Options),
    #[command(flatten)]
    Mesh(mesh::MeshCommand),
    Validate(validate::Options),
    Analyze(analyze::Options),
    #[command(subcommand)]
    Sandbox(sandbox::SandboxCommand),
    Version(output::version::Options),
    /// Print the completion script of a shell.
    ///
    /// For bash, in the current shell: `source <(heddle completion bash)`. For zsh, write it to a file named
    /// `_heddle` in a directory of $fpath; for fish, to ~/.config/fish/completions/heddle.fish.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    if let Some(code) = heddle_sandbox::internal::run(std::env::args_os().skip(1)) {
        return code;
    }
    let done = match Cli::parse().verb {
        Verb::Install(options) => install::run(&options),
        Verb::Uninstall(options) => uninstall::run(&options),
        Verb::Check(options) => check::run(&options),
        Verb::Mesh(command) => mesh::run(&command),
        Verb::Validate(options) => validate::run(&options),
        Verb::Analyze(options) => analyze::run(&options),
        Verb::Sandbox(command) => sandbox::run(command),
        Verb::Version(options) => output::version::run(&options),
        Verb::Completion { shell } => output::text(|out| {
            clap_complete::generate(shell, &mut Cli::command(), "heddle", out);
            Ok(())
        }),
    };
    output::exit(done)
}
