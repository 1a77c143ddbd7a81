//! The kubelet of one node: what the store says of the node's pods, made true.
//!
//! ```text
//! store ──► Kubelet (one a node) ──► Worker (one a pod) ──► Runner (one a container) ──► Process
//!                                       └── Board ──► .status        └── Prober (a process in the node)
//! ```

mod board;
mod grpc;
mod probe;
pub mod prober;
mod record;
mod runner;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use heddle_api::kind::{self, KindInfo};
use heddle_api::object::Object;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::fabric::{Layout, Node};
use crate::images::Entrypoint;
use crate::store::Store;

use prober::Prober;
use worker::Worker;

/// What runs for an image, or why nothing does.
pub type Images = Arc<dyn Fn(&str) -> Result<Entrypoint, String> + Send + Sync>;

/// How long to end: `None` while nothing ends.
type Stop = watch::Receiver<Option<Duration>>;

/// The running kubelet of a node. Dropping it leaves the processes as they are, unwatched.
#[derive(Debug)]
pub struct Kubelet {
    task: AbortOnDropHandle<()>,
}

/// What every worker of a node shares.
#[derive(Clone)]
struct Shared {
    node: Arc<Node>,
    layout: Layout,
    store: Store,
    images: Images,
    prober: Prober,
    pods: &'static KindInfo,
    namespaces: &'static KindInfo,
}

struct Running {
    stop: watch::Sender<Option<Duration>>,
    task: AbortOnDropHandle<()>,
}

impl Kubelet {
    /// Begins to run the pods whose `spec.nodeName` is this node.
    pub fn spawn(node: Arc<Node>, layout: Layout, store: Store, images: Images) -> std::io::Result<Self> {
        let kind = |name| kind::find("v1", name).ok_or_else(|| std::io::Error::other("no such kind"));
        let directory = layout.node(node.name());
        for part in ["pods", "captured"] {
            std::fs::create_dir_all(directory.join(part))?;
        }
        let prober = Prober::spawn(&node, &directory.join("kubelet.log"));
        let (pods, namespaces) = (kind("Pod")?, kind("Namespace")?);
        let shared = Shared { node, layout, store, images, prober, pods, namespaces };
        Ok(Self { task: AbortOnDropHandle::new(tokio::spawn(run(shared))) })
    }

    /// Stops watching and ends the pods' tasks; their processes end with the cgroups (`Fabric::destroy`).
    pub async fn stop(self) {
        self.task.abort();
        // It was cancelled just now; there is nothing to learn from that.
        let _ = self.task.await;
    }
}

async fn run(shared: Shared) {
    let mut changes = shared.store.changed();
    let mut running: HashMap<String, Running> = HashMap::new();
    loop {
        changes.mark_unchanged();
        reconcile(&shared, &mut running);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn reconcile(shared: &Shared, running: &mut HashMap<String, Running>) {
    let node = shared.node.name();
    let mut here: HashMap<String, Arc<Object>> = HashMap::new();
    for object in shared.store.list(shared.pods) {
        let placed = object.value.pointer("/spec/nodeName").and_then(|name| name.as_str()) == Some(node);
        if let Some(uid) = object.uid().filter(|_| placed) {
            here.insert(uid.to_owned(), object);
        }
    }
    running.retain(|_, worker| !worker.task.is_finished());
    for (uid, worker) in running.iter() {
        let grace = match here.get(uid) {
            Some(object) => grace(object),
            None => Some(Duration::ZERO),
        };
        worker.stop.send_if_modified(|stop| std::mem::replace(stop, grace) != grace);
    }
    for (uid, object) in here {
        if running.contains_key(&uid) {
            continue;
        }
        let (stop, stopped) = watch::channel(grace(&object));
        let Some(worker) = Worker::new(shared.clone(), &object) else {
            tracing::warn!(namespace = object.namespace, name = object.name, "pod cannot be read");
            continue;
        };
        running
            .insert(uid, Running { stop, task: AbortOnDropHandle::new(tokio::spawn(worker.live(stopped))) });
    }
}

/// The grace period of a pod that is being deleted.
fn grace(object: &Object) -> Option<Duration> {
    object.value.pointer("/metadata/deletionTimestamp")?;
    let seconds = object.value.pointer("/metadata/deletionGracePeriodSeconds").and_then(|s| s.as_u64());
    Some(Duration::from_secs(seconds.unwrap_or(30)))
}

/// Waits until an end is asked for, and says how long it may take.
async fn stopped(stop: &mut Stop) -> Duration {
    match stop.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        Err(_) => Duration::ZERO,
    }
}
