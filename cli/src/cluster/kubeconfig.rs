//! The kubeconfig, found as kubectl finds it.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::proxy;
use super::trouble::{Trouble, chain};
use crate::failure::Failure;

/// For a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Which cluster, as kubectl has it.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Access {
    /// The kubeconfig to use; else those of KUBECONFIG, else ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig; else its current one.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// A client, and what it is a client of.
pub(super) struct Way {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) server: String,
    pub(super) namespace: String,
}

impl Access {
    /// By a flag.
    pub(crate) fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// By `KUBECONFIG`.
    pub(crate) fn by_variable() -> bool {
        !variable().is_empty()
    }

    /// By the file in the home folder, or as a pod.
    pub(crate) fn by_default() -> bool {
        home().is_some_and(|path| path.is_file()) || in_cluster()
    }
}

/// Files that `KUBECONFIG` names.
fn variable() -> Vec<PathBuf> {
    let value = std::env::var_os("KUBECONFIG").unwrap_or_default();
    std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect()
}

fn home() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("HOME")?).join(".kube/config"))
}

fn in_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
        && PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token").is_file()
}

/// A client. Nothing is asked of the server yet.
pub(super) async fn connect(access: &Access) -> Result<Way, Failure> {
    let (mut config, name) = match read(access)? {
        Some(read) => {
            let name = access.context.clone().or_else(|| read.current_context.clone());
            let options = KubeConfigOptions { context: access.context.clone(), ..Default::default() };
            let known: Vec<String> = read.contexts.iter().map(|context| context.name.clone()).collect();
            let own_proxy = has_proxy(&read, name.as_deref());
            let config = Config::from_custom_kubeconfig(read, &options).await;
            let mut config = config.map_err(|error| say(&error, &known))?;
            if !own_proxy {
                config.proxy_url = proxy::of_environment(&config.cluster_url);
            }
            (config, name.unwrap_or_default())
        }
        None => {
            let config = Config::incluster();
            let told = |error| Failure(format!("no kubeconfig, and as a pod: {error}"));
            (config.map_err(told)?, "in-cluster".to_owned())
        }
    };
    config.connect_timeout = Some(CONNECT);
    // A person waits for the answer; what should be tried again is, by the verb.
    config.default_retry = false;
    let (server, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
    let server = server.trim_end_matches('/').to_owned();
    let client =
        Client::try_from(config).map_err(|error| Failure(Trouble::from(error).tell(&name, &server)))?;
    Ok(Way { client, name, server, namespace })
}

/// Whether the cluster of a context names a proxy itself.
fn has_proxy(read: &Kubeconfig, context: Option<&str>) -> bool {
    let context = read.contexts.iter().find(|named| Some(named.name.as_str()) == context);
    let cluster = context.and_then(|named| named.context.as_ref()).map(|context| &context.cluster);
    let cluster = read.clusters.iter().find(|named| Some(&named.name) == cluster);
    let proxy = cluster.and_then(|named| named.cluster.as_ref()?.proxy_url.as_deref());
    proxy.is_some_and(|proxy| !proxy.is_empty())
}

/// `None`: there is none, and this is a pod.
fn read(access: &Access) -> Result<Option<Kubeconfig>, Failure> {
    let missing = |paths: &[PathBuf]| {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        Failure(format!("no kubeconfig: {} does not exist; name one: --kubeconfig FILE", names.join(", ")))
    };
    let paths = match &access.kubeconfig {
        Some(path) => vec![path.clone()],
        None => match variable() {
            named if !named.is_empty() => named,
            _ => match home() {
                Some(path) if path.is_file() => vec![path],
                _ if in_cluster() => return Ok(None),
                home => return Err(missing(&[home.unwrap_or_else(|| "~/.kube/config".into())])),
            },
        },
    };
    // One of several may be absent, as kubectl has it.
    let present: Vec<&PathBuf> = paths.iter().filter(|path| path.exists()).collect();
    if present.is_empty() {
        return Err(missing(&paths));
    }
    let merged = present.into_iter().try_fold(Kubeconfig::default(), |merged, path| {
        Kubeconfig::read_from(path).and_then(|read| merged.merge(read))
    });
    merged.map(Some).map_err(|error| say(&error, &[]))
}

fn say(error: &KubeconfigError, contexts: &[String]) -> Failure {
    let known = match contexts {
        [] => "it has no context".to_owned(),
        _ => format!("it has {}", contexts.join(", ")),
    };
    Failure(match error {
        KubeconfigError::LoadContext(name) => format!("the kubeconfig has no context '{name}'; {known}"),
        KubeconfigError::CurrentContextNotSet => {
            format!("the kubeconfig has no current context; name one: --context NAME ({known})")
        }
        KubeconfigError::LoadClusterOfContext(name) => {
            format!("the kubeconfig's context names cluster '{name}', which it does not have")
        }
        error => format!("kubeconfig: {}", chain(error)),
    })
}
