//! The way to the API server: from inside the cluster by the pod's own account, else by a kubeconfig.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// For a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[source] Box<kube::config::KubeconfigError>),
    /// Neither in a cluster nor with a kubeconfig.
    #[error("no way to the API server: not in a cluster ({cluster}), and {kubeconfig}")]
    Neither {
        /// What lacks for the one.
        cluster: Box<kube::config::InClusterError>,
        /// What lacks for the other.
        kubeconfig: Box<kube::config::KubeconfigError>,
    },
    /// TLS, or credentials.
    #[error("API server: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// A client by this kubeconfig; without one by the pod's own account, and outside of a cluster by `KUBECONFIG` or
/// `~/.kube/config`. Nothing is asked of the server yet.
///
/// # Errors
/// There is no way, or it is described wrongly.
pub async fn connect(kubeconfig: Option<&std::path::Path>) -> Result<Client, ConnectError> {
    let options = KubeConfigOptions::default();
    let mut config = match kubeconfig {
        Some(path) => {
            let read =
                Kubeconfig::read_from(path).map_err(|error| ConnectError::Kubeconfig(Box::new(error)))?;
            let config = Config::from_custom_kubeconfig(read, &options).await;
            config.map_err(|error| ConnectError::Kubeconfig(Box::new(error)))?
        }
        None => match Config::incluster() {
            Ok(config) => config,
            Err(cluster) => Config::from_kubeconfig(&options).await.map_err(|kubeconfig| {
                ConnectError::Neither { cluster: Box::new(cluster), kubeconfig: Box::new(kubeconfig) }
            })?,
        },
    };
    config.connect_timeout = Some(CONNECT);
    // Each of our loops tries again by itself, at a pace of its own.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))
}
