//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::auth::Account;
use crate::registry::cluster::Pace;
use crate::verb::Verb;

/// The controller of Heddle: what agents are to do, and who workloads are.
#[derive(Clone, Debug, Parser)]
#[command(name = "heddle-controller", version)]
pub struct Options {
    /// Where objects come from.
    #[arg(long, env = "HEDDLE_CONTROLLER_REGISTRY", value_enum, default_value = "directory")]
    pub registry: Registry,
    /// Directory of manifests, JSON or YAML, read recursively and watched. Needed with --registry directory.
    #[arg(long, env = "HEDDLE_CONTROLLER_DIRECTORY")]
    pub directory: Option<PathBuf>,
    /// Kubeconfig for --registry kubernetes; without it the pod's own account, and outside of a cluster KUBECONFIG.
    #[arg(long, env = "HEDDLE_CONTROLLER_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Directory in which the status of objects is written.
    #[arg(long, env = "HEDDLE_CONTROLLER_STATUS_DIR")]
    pub status_dir: Option<PathBuf>,
    /// Address of the gRPC server.
    #[arg(long, env = "HEDDLE_CONTROLLER_LISTEN", default_value = "[::]:15012")]
    pub listen: SocketAddr,
    /// Address of /metrics, /healthz and /readyz.
    #[arg(long, env = "HEDDLE_CONTROLLER_METRICS_ADDRESS", default_value = "[::]:15014")]
    pub metrics_address: SocketAddr,
    /// Unix socket of the admin server.
    #[arg(long, env = "HEDDLE_CONTROLLER_ADMIN_SOCKET")]
    pub admin_socket: Option<PathBuf>,
    /// Directory of the root's key and certificate; made if they are not there. Needed with --registry directory; in a
    /// cluster the Secrets cacerts or heddle-ca are used instead.
    #[arg(long, env = "HEDDLE_CONTROLLER_CA_DIR")]
    pub ca_dir: Option<PathBuf>,
    /// File to write the trust bundle to, with --ca-dir.
    #[arg(long, env = "HEDDLE_CONTROLLER_ROOT_OUT")]
    pub root_out: Option<PathBuf>,
    /// Join tokens: {"<sha256 hex of a token>": "<node>"}. Needed with --registry directory; in a cluster agents are known
    /// by tokens of their service account instead.
    #[arg(long, env = "HEDDLE_CONTROLLER_TOKENS")]
    pub tokens: Option<PathBuf>,
    /// Audience that agents' tokens are for, in a cluster; may be repeated.
    #[arg(long = "token-audience", env = "HEDDLE_CONTROLLER_TOKEN_AUDIENCE", value_delimiter = ',', value_parser = filled,
        default_value = "heddle-ca")]
    pub token_audiences: Vec<String>,
    /// NAMESPACE/NAME of a service account whose pods are agents, in a cluster; may be repeated.
    #[arg(
        long = "trusted-account",
        env = "HEDDLE_CONTROLLER_TRUSTED_ACCOUNT",
        value_delimiter = ',',
        default_value = "heddle-system/heddle-agent"
    )]
    pub trusted_accounts: Vec<Account>,
    /// Trust domain of all identities.
    #[arg(long, env = "HEDDLE_CONTROLLER_TRUST_DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// DNS domain of services.
    #[arg(long, env = "HEDDLE_CONTROLLER_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Lifetime of certificates for which none is asked: 90s, 30m, 24h.
    #[arg(long, env = "HEDDLE_CONTROLLER_CERT_TTL", default_value = "24h", value_parser = duration)]
    pub cert_ttl: Duration,
    /// Longest lifetime of certificates.
    #[arg(long, env = "HEDDLE_CONTROLLER_MAX_CERT_TTL", default_value = "24h", value_parser = duration)]
    pub max_cert_ttl: Duration,
    /// Network of pods; may be repeated.
    #[arg(long = "pod-cidr", env = "HEDDLE_CONTROLLER_POD_CIDR", value_delimiter = ',', value_parser = cidr)]
    pub pod_cidrs: Vec<String>,
    /// Network of services; may be repeated.
    #[arg(long = "service-cidr", env = "HEDDLE_CONTROLLER_SERVICE_CIDR", value_delimiter = ',', value_parser = cidr)]
    pub service_cidrs: Vec<String>,
    /// What is logged: trace, debug, info, warn, error, or a filter such as info,heddle_controlplane=debug.
    #[arg(long, env = "HEDDLE_CONTROLLER_LOG", default_value = "info")]
    pub log: String,
    /// How soon what failed is tried again.
    #[arg(skip)]
    pub pace: Pace,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Call {
    /// To be the controller.
    Run(Box<Options>),
    /// Something else.
    Verb(Verb),
}

impl Options {
    /// Reads the command line; ends the process where something is missing. With a subcommand nothing else is needed.
    pub fn of_command_line() -> Call {
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
        let matches = command.get_matches();
        if matches.subcommand().is_some() {
            return Call::Verb(Verb::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()));
        }
        let options = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        if let Some(message) = options.missing() {
            Self::command().error(ErrorKind::MissingRequiredArgument, message).exit();
        }
        Call::Run(Box::new(options))
    }

    /// What lacks, and of what.
    fn missing(&self) -> Option<String> {
        let directory = self.registry == Registry::Directory;
        let needed = [
            ("--directory", self.directory.is_none()),
            ("--tokens", self.tokens.is_none()),
            ("--ca-dir", self.ca_dir.is_none()),
        ];
        let lacks = needed.iter().find(|(_, lacks)| directory && *lacks);
        if let Some((flag, _)) = lacks {
            return Some(format!("--registry directory needs {flag}"));
        }
        let alone = self.root_out.is_some() && self.ca_dir.is_none();
        alone.then(|| {
            "--root-out needs --ca-dir: in a cluster the roots are in the ConfigMaps istio-ca-root-cert"
                .to_owned()
        })
    }
}

/// Where objects come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Registry {
    /// A directory of manifests.
    Directory,
    /// A Kubernetes cluster.
    Kubernetes,
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("write a number and s, m or h, as in 24h".to_owned()),
    };
    let count: u64 = digits.parse().map_err(|error| format!("{error}"))?;
    let seconds = count.checked_mul(scale).filter(|seconds| (1..=10 * 365 * 86400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| "write a time from 1s to ten years".to_owned())
}

fn filled(text: &str) -> Result<String, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        Err("write an audience, as in heddle-ca".to_owned())
    } else {
        Ok(trimmed.to_owned())
    }
}

fn cidr(text: &str) -> Result<String, String> {
    let parsed = heddle_core::policy::Cidr::parse(text).map(|_| text.to_owned());
    parsed.ok_or_else(|| "write a network, as in 10.244.0.0/16".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn options(flags: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(["heddle-controller"].iter().chain(flags))
    }

    #[test]
    fn in_a_cluster_nothing_else_has_to_be_said() {
        let options = options(&["--registry", "kubernetes"]).unwrap();
        assert_eq!(options.missing(), None);
        assert_eq!(options.token_audiences, ["heddle-ca"]);
        let accounts: Vec<String> = options.trusted_accounts.iter().map(ToString::to_string).collect();
        assert_eq!(accounts, ["heddle-system/heddle-agent"]);
    }

    #[test]
    fn what_a_directory_needs_is_named() {
        let rows: [(&[&str], Option<&str>); 5] = [
            (&[], Some("--registry directory needs --directory")),
            (&["--directory", "d"], Some("--registry directory needs --tokens")),
            (&["--directory", "d", "--tokens", "t"], Some("--registry directory needs --ca-dir")),
            (&["--directory", "d", "--tokens", "t", "--ca-dir", "c", "--root-out", "r"], None),
            (&["--registry", "kubernetes", "--root-out", "r"], Some("--root-out needs --ca-dir")),
        ];
        for (flags, said) in rows {
            let missing = options(flags).unwrap().missing();
            let same = missing.as_deref().zip(said).is_some_and(|(missing, said)| missing.starts_with(said));
            assert!(same || (missing.is_none() && said.is_none()), "{flags:?}: {missing:?}");
        }
    }

    #[test]
    fn accounts_and_audiences_are_read_strictly() {
        let good = options(&[
            "--trusted-account",
            "a/b,c/d.e",
            "--trusted-account",
            "f/g",
            "--token-audience",
            "x,y",
        ]);
        let good = good.unwrap();
        assert_eq!((good.trusted_accounts.len(), good.token_audiences.len()), (3, 2));
        for account in ["", "a", "a/", "/b", "a/b/c", "A/b", "a:b/c", "system:serviceaccount:a:b"] {
            let refused = options(&["--trusted-account", account]).unwrap_err().to_string();
            assert!(refused.contains("write a service account as NAMESPACE/NAME"), "{account}: {refused}");
        }
        assert!(options(&["--token-audience", " "]).unwrap_err().to_string().contains("write an audience"));
    }
}
