//! `cargo xtask bench`: what the mesh costs, as ratios to the same path without it, with HAProxy relays beside it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use heddle_tests::report::Report;

mod bound;
mod footprint;
mod grpc;
mod hold;
mod l7;
mod load;
mod rounds;
mod topology;

use crate::topology::Topology;

/// A run that takes longer than this is taken down.
const QUICK: Duration = Duration::from_secs(8 * 60);
const FULL: Duration = Duration::from_secs(40 * 60);

/// Measures.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// Three rounds of one second instead of five of three: shows that it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Only rows whose name starts with this; may be repeated.
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Write the rows here as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Leave the sandbox running, to look at it.
    #[arg(long)]
    keep: bool,
    /// Print the names of all rows and end.
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    inside: Option<Inside>,
}

/// What this program does inside of a pod.
#[derive(Debug, Subcommand)]
enum Inside {
    /// Open connections, say nothing on them, and end after a while.
    #[command(hide = true)]
    Hold { to: std::net::SocketAddr, count: usize, seconds: u64 },
    /// Answer every gRPC call on a port with its own message.
    #[command(hide = true)]
    Grpc { port: u16 },
}

impl Options {
    /// Whether any of these rows was asked for.
    fn wants(&self, names: &[&str]) -> bool {
        self.only.is_empty() || names.iter().any(|name| self.only.iter().any(|only| name.starts_with(only)))
    }
}

/// Every row, in the order of the report.
fn names() -> impl Iterator<Item = &'static str> {
    rounds::NAMES.iter().chain(footprint::NAMES).copied().chain(l7::names())
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.inside {
        Some(Inside::Hold { to, count, seconds }) => return hold::run(to, count, seconds),
        Some(Inside::Grpc { port }) => return grpc::run(port),
        None if options.list => {
            names().for_each(|name| println!("{name}"));
            return ExitCode::SUCCESS;
        }
        None => {}
    }
    let mut report = Report::default();
    if let Err(error) = measure(&options, &mut report) {
        // A row that was not reached is one that failed.
        let made: Vec<&str> = report.rows().iter().map(|row| row.name).collect();
        for name in names().filter(|name| options.wants(&[name]) && !made.contains(name)) {
            report.check(name, false, format!("not reached: {error:#}"));
        }
    }
    if let Some(path) = &options.report
        && let Err(error) = report.write(path)
    {
        eprintln!("bench: {error:#}");
        return ExitCode::FAILURE;
    }
    println!("{} measured, {} failed", report.rows().len() - report.failed(), report.failed());
    if report.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(options: &Options, report: &mut Report) -> Result<()> {
    ensure!(
        names().any(|name| options.wants(&[name])),
        "--only {}: no row starts with that; --list shows them",
        options.only.join(" ")
    );
    bound::watch(if options.quick { QUICK } else { FULL })?;
    if options.wants(rounds::NAMES) || options.wants(footprint::NAMES) {
        layer4(options, report)?;
    }
    l7::run(options, report)
}

fn layer4(options: &Options, report: &mut Report) -> Result<()> {
    println!("bringing up the sandbox \"{}\"", topology::NAME);
    let mut topology = Topology::up()?;
    if options.keep {
        topology.sandbox.keep();
    }
    // Memory first: an agent that has carried a gigabyte is not idle any more.
    footprint::idle(options, &topology, report)?;
    rounds::run(options, &topology, report)?;
    footprint::known_workloads(options, &topology, report)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_xtask_lists_is_what_is_measured() {
        let listed: Vec<&str> = include_str!("rows.txt").lines().collect();
        assert_eq!(listed, super::names().collect::<Vec<_>>());
    }
}
