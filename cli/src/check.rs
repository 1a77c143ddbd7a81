//! `heddle check`: whether Heddle can run here, and whether it does.

mod cluster;
mod local;
mod meshes;
mod nodes;
mod rights;

use std::io;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::cluster::{Access, Cluster};
use crate::output::{self, Format, Table};

const EXAMPLES: &str = "Examples:
  heddle check --pre          # before an installation
  heddle check                # of an installed mesh
  heddle check --local        # this machine, for sandboxes";

/// Check whether Heddle can run, and whether everything of it does.
///
/// Of a cluster: the API server, your rights, definitions, other meshes, each node's kernel; and where an agent runs, what it finds
/// on its node: eBPF features, cgroup2, bpffs, the network configuration. Without a kubeconfig: this machine.
///
/// Ends with 0 if nothing fails (there may be warnings), else 1.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// What an installation needs; nothing of Heddle need be there.
    #[arg(long)]
    pre: bool,

    /// This machine, and no cluster.
    #[arg(long, conflicts_with_all = ["kubeconfig", "context", "pre"])]
    local: bool,

    #[command(flatten)]
    access: Access,

    /// How to print it. With json, standard output is JSON and nothing else.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Finding {
    status: Status,
    /// `cluster`, or a node.
    #[serde(default, rename = "where")]
    place: String,
    check: String,
    message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    fix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
}

/// What is found, in its order.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, place: &str, check: &str, message: impl Into<String>) {
        self.add(Status::Ok, [place, check], message.into(), String::new());
    }

    fn warn(&mut self, place: &str, check: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.add(Status::Warn, [place, check], message.into(), fix.into());
    }

    fn fail(&mut self, place: &str, check: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.add(Status::Fail, [place, check], message.into(), fix.into());
    }

    fn add(&mut self, status: Status, [place, check]: [&str; 2], message: String, fix: String) {
        self.0.push(Finding { status, place: place.to_owned(), check: check.to_owned(), message, fix });
    }
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let any = options.access.is_given() || Access::by_variable() || Access::by_default();
    let mut findings = Findings::default();
    if options.local || !(any || options.pre) {
        local::look(&mut findings);
    } else {
        let cluster = Cluster::open(&options.access)?;
        cluster.block_on(cluster::look(&cluster, options.pre, &mut findings));
    }
    let Findings(findings) = findings;
    output::print(options.output, &findings, |out| table(&findings).write(out))?;
    let failed = findings.iter().any(|finding| finding.status == Status::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new(["STATUS", "WHERE", "CHECK", "MESSAGE"]);
    for finding in findings {
        let status = match finding.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        let message = match finding.fix.as_str() {
            "" => finding.message.clone(),
            fix => format!("{}: {fix}", finding.message),
        };
        table.row([status.to_owned(), finding.place.clone(), finding.check.clone(), message]);
    }
    table
}
