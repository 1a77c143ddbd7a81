//! `cargo xtask`: builds, tests and measures Heddle, and brings what that needs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

mod binaries;
mod ci;
mod codegen;
mod dist;
mod ebpf;
mod failure;
mod fuzz;
mod kernels;
mod process;
mod setup;
mod tally;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::binaries::Profile;
use crate::failure::Result;

/// Builds, tests and measures Heddle.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring what the build, the tests and the demo need; the other verbs call it for what they lack
    Setup,
    /// Build heddle, heddle-controller, heddle-agent and heddle-cni into target/release
    Build {
        /// Into target/debug, without optimization
        #[arg(long)]
        debug: bool,
    },
    /// Build the eBPF programs into target/bpf/heddle.bpf.o and show what each needs
    BuildEbpf,
    /// Play the tutorial on two sandbox nodes, each step checked
    Demo {
        /// --report FILE, --keep, --list: the demo's own
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the tests; without a suite, all that CI runs
    Test {
        suite: Option<test::Suite>,
        /// Names of tests, or of kernels: 5.10, 6.1, 6.12, newest
        filter: Vec<String>,
    },
    /// Measure what the mesh costs, as ratios to the same path without it
    Bench {
        /// --quick, --only CASE, --report FILE, --list: the benchmark's own
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzz the decoders of foreign bytes; brings cargo-fuzz at first use
    Fuzz {
        /// connect, discovery, manifest, path, route, saved, spiffe; all where none is named
        targets: Vec<String>,
        /// How long each
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Pack release binaries, images and manifests into target/dist, reproducibly
    Dist {
        /// Of debug binaries, into target/dist-debug
        #[arg(long)]
        debug: bool,
    },
    /// Check the rules of the house that a program can check
    Tidy,
    /// Write the generated files that are committed
    Codegen,
    /// Formatting, clippy, tidy, generated files, unit and sandbox tests, two kernels
    Ci,
}

fn main() -> ExitCode {
    match run(Options::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cargo xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result {
    match verb {
        Verb::Setup => setup::all(),
        Verb::Build { debug } => {
            let folder = binaries::build(Profile::of(debug))?;
            println!("heddle, heddle-controller, heddle-agent and heddle-cni are in {}", folder.display());
            Ok(())
        }
        Verb::BuildEbpf => ebpf::run(),
        Verb::Demo { arguments } => binaries::demo(&arguments),
        Verb::Test { suite, filter } => test::run(suite, &filter),
        Verb::Bench { arguments } => binaries::bench(&arguments),
        Verb::Fuzz { targets, seconds } => fuzz::run(&targets, seconds),
        Verb::Dist { debug } => dist::run(Profile::of(debug)),
        Verb::Tidy => tidy::run(),
        Verb::Codegen => codegen::run(),
        Verb::Ci => ci::run(),
    }
}
