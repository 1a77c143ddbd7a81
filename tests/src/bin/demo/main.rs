//! `cargo xtask demo`: the tutorial on two sandbox nodes, each step of it checked on real processes and real packets.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use heddle_tests::report::Report;

use crate::stage::Stage;

mod clear;
mod enrol;
mod failure;
mod requests;
mod rotation;
mod stage;
mod status;
mod strict;

/// Runs the demo.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask demo")]
struct Options {
    /// Write the checked statements here as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Leave the sandbox running and say what to try next.
    #[arg(long)]
    keep: bool,
    /// Print the names of all statements and end.
    #[arg(long)]
    list: bool,
    /// Folder with the tutorial's manifests.
    #[arg(long, default_value = "manifests/tutorial")]
    tutorial: PathBuf,
}

type Step = fn(&mut Stage, &mut Report) -> Result<()>;

/// Steps in order, with the names of the statements that each must make.
const STEPS: [(&str, &[&str], Step); 9] = [
    ("1. two nodes, no mesh", clear::NAMES, clear::run),
    ("2. the namespace is labelled", enrol::NAMES, enrol::run),
    ("3. STRICT", strict::NAMES, strict::run),
    ("4. who sees whom", strict::PEER_NAMES, strict::peers),
    ("5. requests are routed and judged", requests::NAMES, requests::run),
    ("6. kill -9 of the backend's agent under load", failure::KILL_NAMES, failure::kill_agent),
    ("7. certificates that live 10 seconds", rotation::NAMES, rotation::run),
    ("8. the controller is stopped", failure::CONTROLLER_NAMES, failure::stop_controller),
    ("9. status", status::NAMES, status::run),
];

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        STEPS.iter().flat_map(|step| step.1).for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let mut report = Report::default();
    if let Err(error) = play(&options, &mut report) {
        eprintln!("demo: {error:#}");
        report.check("demo-completed", false, format!("{error:#}"));
    }
    if let Some(path) = &options.report
        && let Err(error) = report.write(path)
    {
        eprintln!("demo: {error:#}");
        return ExitCode::FAILURE;
    }
    println!("{} passed, {} failed", report.rows().len() - report.failed(), report.failed());
    if report.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play(options: &Options, report: &mut Report) -> Result<()> {
    let mut stage = Stage::new(&options.tutorial)?;
    for (title, names, step) in STEPS {
        println!("\n{title}");
        let before = report.rows().len();
        if let Err(error) = step(&mut stage, report) {
            eprintln!("  {error:#}");
            // Every statement that was not reached is one that does not hold.
            let made: Vec<&str> = report.rows()[before..].iter().map(|row| row.name).collect();
            for name in names.iter().filter(|name| !made.contains(name)) {
                report.check(name, false, format!("not reached: {error:#}"));
            }
        }
    }
    if options.keep {
        stage.keep();
    }
    Ok(())
}
