//! A Kubernetes cluster, as a person's kubeconfig leads to it.
//!
//! ```text
//! kubeconfig (which server, who) ─► Cluster ─┬─► objects: get, list, apply, delete
//!                                            └─► exec: the admin verbs of the agents and of the controller
//! trouble: what failed, in words, and what to do
//! ```

mod exec;
mod kubeconfig;
mod objects;
mod pods;
mod proxy;
mod trouble;

use std::time::Duration;

use kube::Client;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::failure::Failure;

pub(crate) use exec::Command;
pub(crate) use kubeconfig::Access;
pub(crate) use objects::{NODES, PODS, Resource, resource_of};
pub(crate) use pods::{is_linux, is_ready, is_running, reason, version_of, why_not_running};
pub(crate) use trouble::Trouble;

/// Where Heddle runs.
pub(crate) const SYSTEM: &str = "heddle-system";
/// For one request; a list of ten thousand pods takes a few seconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// A way to one cluster. One runtime per command, on this thread.
pub(crate) struct Cluster {
    runtime: Runtime,
    client: Client,
    /// What to call it in messages: its context, or its server.
    pub(crate) name: String,
    /// The server's address.
    pub(crate) server: String,
    /// Of objects for which none is given.
    pub(crate) namespace: String,
}

impl Cluster {
    /// By the flags and the environment. Nothing is asked of the server yet.
    pub(crate) fn open(access: &Access) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure(format!("no runtime: {error}")))?;
        let way = runtime.block_on(kubeconfig::connect(access))?;
        Ok(Self { runtime, client: way.client, name: way.name, server: way.server, namespace: way.namespace })
    }

    /// Runs this to its end.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Says what went wrong, for people.
    pub(crate) fn tell(&self, trouble: &Trouble) -> Failure {
        Failure(trouble.tell(&self.name, &self.server))
    }

    /// The same within the deadline of a request.
    async fn within<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
        match timeout(DEADLINE, request).await {
            Ok(done) => Ok(done?),
            Err(_elapsed) => Err(Trouble::Unreachable(format!("nothing within {DEADLINE:?}"))),
        }
    }
}
