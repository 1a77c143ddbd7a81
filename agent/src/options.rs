//! Command line and environment of `heddle-agent`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::node::{self, Detected, NodeError, Places, Proc};
use crate::verb::Verb;

/// One per node: captures the traffic of the node's enrolled pods and carries it over mutual TLS.
///
/// Every flag can also be set by the environment variable that its help names. stdout is the access log, stderr the log.
#[derive(Clone, Debug, Parser)]
#[command(name = "heddle-agent", version)]
pub struct Options {
    /// Name of this node, exactly as its Node object has it (`kubectl get nodes`). The join token must be this node's.
    #[arg(long, env = "HEDDLE_AGENT_NODE")]
    pub node: String,

    /// Address of the controller's gRPC port: `HOST:PORT`. IPv6 addresses go in brackets.
    #[arg(long, env = "HEDDLE_AGENT_CONTROLLER", value_name = "HOST:PORT")]
    pub controller: String,

    /// PEM file with the mesh's root certificates; the controller's certificate must chain to one of them.
    #[arg(long, env = "HEDDLE_AGENT_ROOT_CERT", value_name = "FILE")]
    pub root_cert: PathBuf,

    /// Trust domain of the controller's identity: `spiffe://DOMAIN/ns/heddle-system/sa/heddle-controller`.
    #[arg(long, env = "HEDDLE_AGENT_TRUST_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,

    /// File with the token that proves to the controller which node this is; read again for every connection.
    #[arg(long, env = "HEDDLE_AGENT_TOKEN_FILE", value_name = "FILE")]
    pub token_file: PathBuf,

    /// Directory in which the kubelet (or the CNI plugin) keeps one JSON record per pod of this node.
    #[arg(long, env = "HEDDLE_AGENT_PODS_DIR", value_name = "DIR", default_value = "/run/heddle/pods")]
    pub pods_dir: PathBuf,

    /// Directory in which the agent leaves one file per captured pod; pod start waits for it.
    #[arg(
        long,
        env = "HEDDLE_AGENT_CAPTURED_DIR",
        value_name = "DIR",
        default_value = "/run/heddle/captured"
    )]
    pub captured_dir: PathBuf,

    /// Directory for pinned eBPF objects. A bpffs is mounted there if it is not one. auto: /run/heddle/bpf of the node.
    #[arg(long, env = "HEDDLE_AGENT_BPFFS", value_name = "DIR", default_value = "auto")]
    pub bpffs: PathBuf,

    /// cgroup v2 directory to attach to: an ancestor of every pod of this node, and of this process. auto: the root of the node's.
    #[arg(long, env = "HEDDLE_AGENT_CGROUP", value_name = "PATH", default_value = "auto")]
    pub cgroup: PathBuf,

    /// The kubelet's own cgroup v2 directory: its probes, and nothing else of the node, reach STRICT pods without a tunnel.
    /// auto: found by its process, and again when it restarts; a kubelet that shares the root's is given one.
    #[arg(long, env = "HEDDLE_AGENT_PROBER_CGROUP", value_name = "PATH", default_value = "auto")]
    pub prober_cgroup: PathBuf,

    /// Directory for the last configuration, from which a restarted agent serves while the controller is away.
    #[arg(long, env = "HEDDLE_AGENT_STATE_DIR", value_name = "DIR", default_value = "/run/heddle/state")]
    pub state_dir: PathBuf,

    /// Directory for unexpired private keys. A tmpfs is mounted there if it is not one, so that they never reach a disk.
    #[arg(long, env = "HEDDLE_AGENT_KEYS_DIR", value_name = "DIR", default_value = "/run/heddle/keys")]
    pub keys_dir: PathBuf,

    /// Unix socket for `heddle status`, `config`, `drops` and `bpf`; mode 0600.
    #[arg(
        long,
        env = "HEDDLE_AGENT_ADMIN_SOCKET",
        value_name = "PATH",
        default_value = "/run/heddle/agent.sock"
    )]
    pub admin_socket: PathBuf,

    /// Unix socket at which the CNI plugin tells of pods before they start; mode 0600. Without it pods come from --pods-dir alone;
    /// with it, enrolled pods that run without a record are found by their processes.
    #[arg(long, env = "HEDDLE_AGENT_CNI_SOCKET", value_name = "PATH")]
    pub cni_socket: Option<PathBuf>,

    /// Directory for what the CNI plugin reads while no agent runs.
    #[arg(long, env = "HEDDLE_AGENT_CNI_DIR", value_name = "DIR", default_value = "/run/heddle/cni")]
    pub cni_dir: PathBuf,

    /// A proc file system that shows the node's processes: in a pod, /proc with hostPID.
    #[arg(long, env = "HEDDLE_AGENT_PROC", value_name = "DIR", default_value = "/proc")]
    pub proc: PathBuf,

    /// Traffic threads. Default: one per two cores, at least one.
    #[arg(long, env = "HEDDLE_AGENT_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,

    /// Lifetime to ask for certificates; renewed at half of it.
    #[arg(long, env = "HEDDLE_AGENT_CERT_TTL", value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub cert_ttl: Duration,

    /// Where `/metrics` is served, in Prometheus' text format.
    #[arg(long, env = "HEDDLE_AGENT_METRICS_ADDRESS", value_name = "IP:PORT", default_value = "[::]:15020")]
    pub metrics_address: SocketAddr,

    /// Where `/healthz/ready` is served: 200 once the first configuration is in force.
    #[arg(long, env = "HEDDLE_AGENT_READY_ADDRESS", value_name = "IP:PORT", default_value = "[::]:15021")]
    pub ready_address: SocketAddr,

    /// How long open connections may take to finish after SIGTERM.
    #[arg(long, env = "HEDDLE_AGENT_DRAIN", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub drain: Duration,

    /// How long a connection to an address inside the cluster that is not known yet waits for it.
    #[arg(long, env = "HEDDLE_AGENT_HOLD", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub hold: Duration,

    /// What to log: error, warn, info, debug, trace, or directives such as `info,heddle_agent::control=debug`.
    #[arg(long, env = "HEDDLE_AGENT_LOG", value_name = "LEVEL", default_value = "info")]
    pub log: String,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Call {
    /// To be the agent.
    Run(Box<Options>),
    /// Something else.
    Verb(Verb),
}

impl Options {
    /// Reads the command line; ends the process where something is missing. With a subcommand nothing else is needed.
    pub fn of_command_line() -> Call {
        let read = Self::read(std::env::args_os());
        read.unwrap_or_else(|error| error.exit())
    }

    fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Call, clap::Error> {
        let own = Self::command();
        let about = [own.get_about(), own.get_long_about()].map(|text| text.cloned().unwrap_or_default());
        let [about, long_about] = about;
        let command = Verb::augment_subcommands(own)
            .about(about)
            .long_about(long_about)
            .subcommand_required(false)
            .arg_required_else_help(false)
            .subcommand_negates_reqs(true)
            .args_conflicts_with_subcommands(true);
        let matches = command.try_get_matches_from(arguments)?;
        match matches.subcommand() {
            Some(_) => Ok(Call::Verb(Verb::from_arg_matches(&matches)?)),
            None => Ok(Call::Run(Box::new(Self::from_arg_matches(&matches)?))),
        }
    }

    /// Number of traffic threads.
    pub fn worker_count(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        self.workers.map_or((cores / 2).max(1), usize::from)
    }

    /// Where the node has what the agent needs; finds out what says `auto`, and where the node's paths are for the CNI plugin's.
    ///
    /// # Errors
    /// What is missing.
    pub fn detect(&self) -> Result<Detected, NodeError> {
        let places = Places {
            cgroup: self.cgroup.clone(),
            bpffs: self.bpffs.clone(),
            prober: self.prober_cgroup.clone(),
        };
        if !places.any_auto() && self.cni_socket.is_none() {
            return Ok(places.as_given());
        }
        match node::detect(&Proc::at(&self.proc), &self.node, &places) {
            // Whoever says everything needs no kubelet beside the agent.
            Err(NodeError::NoNode) if !places.any_auto() => Ok(places.as_given()),
            detected => detected,
        }
    }
}

/// Parses `500ms`, `30s`, `5m`, `24h`, or a sum of those (`1h30m`).
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a duration; write for example 500ms, 30s, 5m, 24h or 1h30m");
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u32 = rest[..digits].parse().map_err(|_none| wrong())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(wrong()),
        };
        total = unit.checked_mul(count).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = &rest[end..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(arguments: &[&str]) -> Result<Call, clap::Error> {
        Options::read(arguments.iter().map(OsString::from))
    }

    #[test]
    fn a_subcommand_needs_none_of_the_agents_options_and_the_agent_no_subcommand() {
        let admin = read(&["heddle-agent", "admin", "get", "/status"]).unwrap();
        assert!(matches!(admin, Call::Verb(Verb::Admin(_))));
        let run =
            ["heddle-agent", "--node", "n", "--controller", "c:1", "--root-cert", "r", "--token-file", "t"];
        assert!(matches!(read(&run).unwrap(), Call::Run(_)));
        let help = read(&["heddle-agent", "--help"]).unwrap_err().to_string();
        assert!(help.starts_with("One per node: ") && help.contains("  admin "), "{help}");
        assert!(read(&run[..7]).is_err());
        assert!(read(&[&run[..], &["admin", "get", "/status"]].concat()).is_err());
    }

    #[test]
    fn durations_are_read_as_kubernetes_writes_them() {
        assert_eq!(duration("24h").unwrap(), Duration::from_secs(86_400));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5_400));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        for wrong in ["", "5", "s", "5x", "1h5", "-1s", "99999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
