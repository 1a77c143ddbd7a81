//! One pod on its node, from its network to its removal.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use heddle_api::object::Object;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::pod::{PodContext, PodSandbox, Volumes};

use super::board::{Board, Role};
use super::record;
use super::runner::{Place, Runner};
use super::{Shared, Stop, stopped};

/// How long to wait before a step that failed is tried again, unless the store changes sooner.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    shared: Shared,
    pod: PodContext,
    board: Arc<Board>,
}

/// How the containers of a pod came to rest.
enum Rest {
    Stopped,
    Finished,
    Failed(&'static str, String),
}

impl Worker {
    /// `None` for an object that is no complete pod.
    pub(super) fn new(shared: Shared, object: &Object) -> Option<Self> {
        let pod: Pod = object.typed().ok()?;
        let pod = PodContext::new(&pod, shared.node.name(), shared.node.address())?;
        let board = Arc::new(Board::new(shared.clone(), &pod));
        Some(Self { shared, pod, board })
    }

    /// Runs the pod until it is deleted, and then removes it from the store.
    pub(super) async fn live(mut self, mut stop: Stop) {
        if let Some(sandbox) = self.connect(&mut stop).await {
            let rest = self.run(&sandbox, &mut stop).await;
            self.disconnect(sandbox).await;
            match rest {
                Rest::Stopped => {}
                Rest::Finished => self.board.finished(),
                Rest::Failed(reason, message) => self.board.failed(reason, &message),
            }
        }
        stopped(&mut stop).await;
        let directory = self.shared.layout.pod(&self.pod.uid);
        if let Err(error) = std::fs::remove_dir_all(&directory) {
            tracing::debug!(%error, directory = %directory.display(), "pod directory not removed");
        }
        let (namespace, name) = (Some(self.pod.namespace.as_str()), &self.pod.name);
        if let Err(error) = self.shared.store.remove(self.shared.pods, namespace, name, &self.pod.uid) {
            tracing::warn!(%error, pod = name, "pod not removed from the store");
        }
    }

    /// The pod's network and record, tried until they stand; `None` when the pod is to end before.
    async fn connect(&mut self, stop: &mut Stop) -> Option<PodSandbox> {
        loop {
            if stop.borrow().is_some() {
                return None;
            }
            let made = PodSandbox::create(&self.shared.node, &self.shared.layout, &mut self.pod).await;
            let made = match made {
                Ok(sandbox) => self.recorded(sandbox).await,
                Err(error) => Err(error),
            };
            match made {
                Ok(sandbox) => {
                    self.board.connected(sandbox.address);
                    return Some(sandbox);
                }
                Err(error) => {
                    let message = format!("failed to create pod sandbox: {error}");
                    tracing::warn!(pod = self.pod.name, message);
                    self.board.waiting("ContainerCreating", &message);
                    self.pause(stop).await;
                }
            }
        }
    }

    /// The pod's record for the agent; without it the network is taken away again.
    async fn recorded(&self, sandbox: PodSandbox) -> io::Result<PodSandbox> {
        let Some(attachment) = &sandbox.attachment else { return Ok(sandbox) };
        if let Err(error) = record::write(&self.shared, &self.pod, attachment) {
            sandbox.destroy().await?;
            return Err(error);
        }
        Ok(sandbox)
    }

    /// Waits for a change of the store, the end of the pod, or a while.
    async fn pause(&self, stop: &mut Stop) {
        let mut changes = self.shared.store.changed();
        tokio::select! {
            _ = stopped(stop) => {}
            _ = changes.changed() => tokio::time::sleep(Duration::from_millis(20)).await,
            () = tokio::time::sleep(RETRY) => {}
        }
    }

    async fn run(&self, sandbox: &PodSandbox, stop: &mut Stop) -> Rest {
        let Some(volumes) = self.volumes(sandbox, stop).await else { return Rest::Stopped };
        if !record::captured(&self.shared, &self.pod, stop).await {
            let message =
                "the pod's namespace is in the mesh, but the node's agent did not capture the pod in time";
            return Rest::Failed("MeshCaptureTimeout", message.to_owned());
        }
        let place = Arc::new(Place {
            shared: self.shared.clone(),
            pod: self.pod.clone(),
            board: self.board.clone(),
            volumes,
            netns: sandbox.netns.clone(),
            uts: sandbox.uts.clone(),
            cgroup: sandbox.cgroup.clone(),
            mounts: sandbox.mounts.clone(),
        });
        let (end_sidecars, sidecars_end) = watch::channel(None);
        let mut sidecars = JoinSet::new();
        let rest = match self.initialize(&place, stop, &sidecars_end, &mut sidecars).await {
            Some(rest) => rest,
            None => self.main(&place, stop).await,
        };
        let grace = stop.borrow().unwrap_or_else(|| self.grace());
        end_sidecars.send_replace(Some(grace));
        while sidecars.join_next().await.is_some() {}
        rest
    }

    fn grace(&self) -> Duration {
        let seconds = self.pod.spec.termination_grace_period_seconds.unwrap_or(30);
        Duration::from_secs(seconds.try_into().unwrap_or(0))
    }

    async fn volumes(&self, sandbox: &PodSandbox, stop: &mut Stop) -> Option<Volumes> {
        loop {
            if stop.borrow().is_some() {
                return None;
            }
            match Volumes::write(&sandbox.directory, &self.pod, &self.shared.store) {
                Ok(volumes) => return Some(volumes),
                Err(error) => self.board.waiting("ContainerCreating", &format!("volumes: {error}")),
            }
            self.pause(stop).await;
        }
    }

    /// The init containers in turn; a sidecar is passed once it has started. A result means that it ends here.
    async fn initialize(
        &self,
        place: &Arc<Place>,
        stop: &mut Stop,
        sidecars_end: &Stop,
        sidecars: &mut JoinSet<bool>,
    ) -> Option<Rest> {
        for container in self.pod.spec.init_containers.iter().flatten() {
            if container.restart_policy.as_deref() == Some("Always") {
                let (started, mut has_started) = watch::channel(false);
                let runner = Runner::new(place.clone(), container, Role::Sidecar).announcing(started);
                sidecars.spawn(runner.run(sidecars_end.clone()));
                tokio::select! {
                    _ = has_started.wait_for(|started| *started) => {}
                    _ = stopped(stop) => return Some(Rest::Stopped),
                }
            } else {
                let runner = Runner::new(place.clone(), container, Role::Init);
                let well = runner.run(stop.clone()).await;
                if stop.borrow().is_some() {
                    return Some(Rest::Stopped);
                }
                if !well {
                    return Some(Rest::Finished);
                }
            }
        }
        None
    }

    async fn main(&self, place: &Arc<Place>, stop: &Stop) -> Rest {
        let mut runners = JoinSet::new();
        let run = |container: &Container| Runner::new(place.clone(), container, Role::Main).run(stop.clone());
        for container in &self.pod.spec.containers {
            runners.spawn(run(container));
        }
        while runners.join_next().await.is_some() {}
        if stop.borrow().is_some() { Rest::Stopped } else { Rest::Finished }
    }

    async fn disconnect(&self, sandbox: PodSandbox) {
        let removed = record::remove(&self.shared, &self.pod.uid);
        let destroyed = sandbox.destroy().await;
        for error in [removed, destroyed].into_iter().filter_map(Result::err) {
            tracing::warn!(pod = self.pod.name, %error, "pod not taken down completely");
        }
    }
}
