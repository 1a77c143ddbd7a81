//! Which mesh a verb reads: a sandbox of this machine, or a cluster by the kubeconfig.

use std::io::IsTerminal;
use std::path::Path;

use crate::cluster::{Access, Cluster};
use crate::failure::Failure;

/// Where sandboxes live.
pub(crate) const RUN: &str = "/run/heddle";
/// The sandbox that nobody named.
const DEFAULT: &str = "default";

/// A sandbox of this machine, or a cluster.
///
/// Without any of these flags: the cluster if KUBECONFIG is set; else the sandbox `default` if it runs on this machine;
/// else the cluster of ~/.kube/config, or the one whose pod this is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Which {
    /// Read this sandbox of this machine. Without it, --kubeconfig or --context: the cluster if KUBECONFIG is set, else the
    /// sandbox `default` if it runs, else the cluster of ~/.kube/config.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) sandbox: Option<String>,

    #[command(flatten)]
    pub(crate) access: Access,
}

/// What is meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// A sandbox, by its name.
    Sandbox(String),
    /// The cluster that the flags and the environment lead to.
    Cluster,
}

/// What there is to choose from when nobody names a sandbox.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    /// `--kubeconfig` or `--context`.
    flags: bool,
    /// `KUBECONFIG`.
    variable: bool,
    /// The sandbox `default` runs.
    sandbox: bool,
    /// `~/.kube/config`, or a pod's account.
    cluster: bool,
}

impl Which {
    /// Decides.
    pub(crate) fn choose(&self) -> Result<Chosen, Failure> {
        let around = Around {
            flags: self.access.is_given(),
            variable: Access::by_variable(),
            sandbox: Path::new(RUN).join(DEFAULT).join("sandbox.json").is_file(),
            cluster: Access::by_default(),
        };
        let chosen = choose(self.sandbox.as_deref(), around)?;
        let guessed = self.sandbox.is_none() && chosen == Chosen::Sandbox(DEFAULT.to_owned());
        if guessed && around.cluster && std::io::stderr().is_terminal() {
            eprintln!(
                "heddle: this is the sandbox `default`; the cluster: --context NAME, or set KUBECONFIG"
            );
        }
        Ok(chosen)
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> Result<Cluster, Failure> {
        Cluster::open(&self.access)
    }
}

fn choose(sandbox: Option<&str>, around: Around) -> Result<Chosen, Failure> {
    match (sandbox, around) {
        (Some(name), _) => Ok(Chosen::Sandbox(name.to_owned())),
        (None, Around { flags: true, .. } | Around { variable: true, .. }) => Ok(Chosen::Cluster),
        (None, Around { sandbox: true, .. }) => Ok(Chosen::Sandbox(DEFAULT.to_owned())),
        (None, Around { cluster: true, .. }) => Ok(Chosen::Cluster),
        (None, _) => Err(Failure(
            "there is no mesh to read: no kubeconfig (KUBECONFIG, ~/.kube/config, --kubeconfig FILE), and no sandbox 'default' is running; \
             start one: heddle sandbox up, or name one: --sandbox NAME"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_flags_go_before_the_variable_then_the_running_sandbox_then_the_home_folder() {
        let nothing = Around::default();
        let all = Around { flags: true, variable: true, sandbox: true, cluster: true };
        let named = |name: &str| Chosen::Sandbox(name.to_owned());
        assert_eq!(choose(Some("x"), all).unwrap(), named("x"));
        assert_eq!(choose(Some("x"), nothing).unwrap(), named("x"));
        assert_eq!(choose(None, all).unwrap(), Chosen::Cluster);
        assert_eq!(choose(None, Around { flags: false, ..all }).unwrap(), Chosen::Cluster);
        let sandbox = Around { sandbox: true, ..nothing };
        assert_eq!(choose(None, sandbox).unwrap(), named("default"));
        assert_eq!(choose(None, Around { cluster: true, ..sandbox }).unwrap(), named("default"));
        assert_eq!(choose(None, Around { cluster: true, ..nothing }).unwrap(), Chosen::Cluster);
        let Failure(message) = choose(None, nothing).unwrap_err();
        assert!(message.contains("no kubeconfig") && message.contains("heddle sandbox up"), "{message}");
    }
}
