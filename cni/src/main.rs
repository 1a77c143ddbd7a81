//! `heddle-cni`: a plugin when a runtime calls it, an installer when a person or a container does.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use heddle_cni::install::folder::Folder;
use heddle_cni::install::watch::{self, Installer};
use heddle_cni::install::{Entry, binary, places, report};
use heddle_cni::invocation::{EXCLUDED, Environment};
use heddle_cni::plugin::{self, Output};
use heddle_cni::{enrolled, protocol};

/// A network configuration is a few kilobytes; a GC of a full node some more.
const MAX_STDIN: u64 = 8 << 20;

/// The CNI plugin that holds a pod back until heddle-agent has it captured.
///
/// Container runtimes call it by CNI_COMMAND (ADD, DEL, CHECK, GC, STATUS, VERSION; CNI 0.3.1 to 1.1.0); people call `install` and
/// `remove`.
#[derive(Debug, Parser)]
#[command(name = "heddle-cni", version)]
struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Puts the plugin into the node's network configuration and keeps it there, until SIGTERM, which leaves it in.
    Install(Install),
    /// Takes the plugin out of the node's network configuration, then removes its binary.
    Remove(Where),
}

#[derive(Debug, Args)]
struct Where {
    /// Where the node's file system is: `/`, or where a container has it mounted.
    #[arg(long, env = "HEDDLE_CNI_HOST_ROOT", value_name = "DIR", default_value = "/")]
    host_root: PathBuf,

    /// The runtime's network configurations. Default: what containerd's configuration says, else /etc/cni/net.d or another usual place.
    #[arg(long, env = "HEDDLE_CNI_CONF_DIR", value_name = "DIR")]
    conf_dir: Option<PathBuf>,

    /// The runtime's plugins. Default: what containerd's configuration says, else /opt/cni/bin or another usual place.
    #[arg(long, env = "HEDDLE_CNI_BIN_DIR", value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

impl Where {
    fn places(&self) -> places::Places {
        let found = places::detect(&self.host_root);
        places::Places {
            conf: self.conf_dir.clone().unwrap_or(found.conf),
            bin: self.bin_dir.clone().unwrap_or(found.bin),
        }
    }
}

#[derive(Debug, Args)]
struct Install {
    #[command(flatten)]
    place: Where,

    /// The agent's socket, as the node sees it.
    #[arg(long, env = "HEDDLE_CNI_SOCKET", value_name = "PATH", default_value = protocol::SOCKET)]
    socket: PathBuf,

    /// Where the agent leaves the enrolled namespaces for the time when it is away, as the node sees it.
    #[arg(long, env = "HEDDLE_CNI_NAMESPACES_FILE", value_name = "PATH", default_value = enrolled::FILE)]
    namespaces_file: PathBuf,

    /// Namespaces whose pods start while nobody can say what they are; without them the cluster would not come up.
    #[arg(long, env = "HEDDLE_CNI_EXCLUDE_NAMESPACES", value_name = "NAMES", value_delimiter = ',', default_values = EXCLUDED)]
    exclude_namespaces: Vec<String>,

    /// Where to say what was done; the agent shows it in its metrics.
    #[arg(long, env = "HEDDLE_CNI_REPORT", value_name = "PATH", default_value = report::FILE)]
    report: PathBuf,

    /// Install once and end.
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    let variables = std::env::vars_os();
    let variables =
        variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let environment = Environment::new(variables);
    if environment.command().is_some() {
        return called(&environment);
    }
    let done = match Options::parse().verb {
        Verb::Install(install) => run_install(&install),
        Verb::Remove(place) => run_remove(&place),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heddle-cni: {error}");
            ExitCode::FAILURE
        }
    }
}

/// By a runtime.
fn called(environment: &Environment) -> ExitCode {
    let mut stdin = Vec::new();
    // What cannot be read is no configuration, and refused as that.
    let _ = std::io::stdin().take(MAX_STDIN).read_to_end(&mut stdin);
    match plugin::run(environment, &stdin) {
        Output::Nothing => ExitCode::SUCCESS,
        Output::Result(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Output::Error(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn std::error::Error>>;

fn run_install(options: &Install) -> Done {
    let signals = watch::signals()?;
    let places = options.place.places();
    let entry = Entry {
        socket: options.socket.clone(),
        namespaces_file: options.namespaces_file.clone(),
        exclude_namespaces: options.exclude_namespaces.clone(),
    };
    let installer = Installer {
        conf_dir: places.conf,
        bin_dir: places.bin,
        entry: entry.json(),
        report: options.report.clone(),
        program: "/proc/self/exe".into(),
    };
    if options.once {
        installer.pass()?;
        return Ok(());
    }
    Ok(installer.run(&signals)?)
}

fn run_remove(place: &Where) -> Done {
    let places = place.places();
    // The configuration first: one that names a plugin that is not there starts and ends no pod.
    let found = Folder::new(&places.conf).remove()?;
    let binary = binary::remove(&places.bin)?;
    println!("{}", if found || binary { "removed" } else { "there was nothing to remove" });
    Ok(())
}
