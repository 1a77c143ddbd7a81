//! The clusters that a worker's pods use: made at first use, made again under a newer configuration.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_core::names::PodUid;
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::{ClusterKey, ClusterStates, Endpoint};
use heddle_core::workload::LocalWorkload;

use tokio_util::task::TaskTracker;

use super::cluster::Upstream;
use crate::dns::{Names, PodNames};
use crate::pod::Pod;

/// A cluster that nobody has asked for this long is forgotten.
const UNUSED: Duration = Duration::from_secs(600);

/// Of all pods of a worker.
#[derive(Debug)]
pub struct Clusters {
    pods: RefCell<HashMap<PodUid, Rc<PodClusters>>>,
    states: Arc<ClusterStates>,
    names: Arc<Names>,
    tasks: TaskTracker,
}

/// What all clusters of a pod look at.
#[derive(Clone, Debug)]
pub struct Common {
    /// What was learned; shared by all workers.
    pub states: Arc<ClusterStates>,
    /// What names stand for, for this pod.
    pub names: Arc<PodNames>,
    /// The worker's.
    pub tasks: TaskTracker,
}

/// Of one pod.
#[derive(Debug)]
pub struct PodClusters {
    by_host: RefCell<HashMap<Arc<str>, Vec<Rc<Upstream>>>>,
    direct: RefCell<HashMap<SocketAddr, Rc<Upstream>>>,
    common: Common,
}

impl Clusters {
    /// None yet; `states` and `names` are shared by all workers.
    pub fn new(states: Arc<ClusterStates>, names: Arc<Names>, tasks: TaskTracker) -> Self {
        Self { pods: RefCell::default(), states, names, tasks }
    }

    /// Those of a pod.
    pub fn of(&self, pod: &Arc<Pod>) -> Rc<PodClusters> {
        let mut pods = self.pods.borrow_mut();
        if let Some(clusters) = pods.get(&pod.uid) {
            return clusters.clone();
        }
        let (states, tasks) = (self.states.clone(), self.tasks.clone());
        let clusters = Rc::new(PodClusters {
            by_host: RefCell::default(),
            direct: RefCell::default(),
            common: Common { states, names: self.names.of(pod), tasks },
        });
        pods.insert(pod.uid.clone(), clusters.clone());
        clusters
    }

    /// The pod is gone, and so are its connections.
    pub fn forget_pod(&self, pod: &PodUid) {
        if let Some(clusters) = self.pods.borrow_mut().remove(pod) {
            clusters.each(|upstream| upstream.close());
        }
    }

    /// Lets go of what nobody uses, and of connections that were idle for too long.
    pub fn sweep(&self) {
        let now = Instant::now();
        for clusters in self.pods.borrow().values() {
            clusters.each(|upstream| upstream.sweep(now));
            clusters.by_host.borrow_mut().retain(|_, ports| {
                ports.retain(|upstream| !upstream.is_unused(now, UNUSED));
                !ports.is_empty()
            });
            clusters.direct.borrow_mut().retain(|_, upstream| !upstream.is_unused(now, UNUSED));
        }
    }

    /// A newer configuration: connections to endpoints that are gone are let go of at once.
    pub fn learn(&self, snapshot: &Snapshot) {
        for (pod, clusters) in &*self.pods.borrow() {
            let Some(local) = snapshot.local(pod) else { continue };
            clusters.each(|upstream| upstream.refresh(snapshot, local, &clusters.common));
        }
    }

    /// Closes idle connections, and has the others close with their last request.
    pub fn close(&self) {
        self.pods.borrow().values().for_each(|clusters| clusters.each(|upstream| upstream.close()));
    }
}

impl PodClusters {
    /// A cluster as of this snapshot.
    pub fn get(
        &self,
        snapshot: &Snapshot,
        local: &LocalWorkload,
        (host, port, subset): (&str, u16, Option<&str>),
    ) -> Rc<Upstream> {
        let known = self.by_host.borrow().get(host).and_then(|ports| {
            let same = |upstream: &&Rc<Upstream>| {
                upstream.key().port == port && upstream.key().subset.as_deref() == subset
            };
            ports.iter().find(same).cloned()
        });
        if let Some(upstream) = known {
            upstream.refresh(snapshot, local, &self.common);
            return upstream;
        }
        let key = match subset {
            Some(subset) => ClusterKey::subset(host, port, subset),
            None => ClusterKey::new(host, port),
        };
        let upstream = Upstream::registered(snapshot, local, key, &self.common);
        let mut by_host = self.by_host.borrow_mut();
        by_host.entry(upstream.key().host.clone()).or_default().push(upstream.clone());
        upstream
    }

    /// Waits a bounded time for the names that a cluster without endpoints depends on; true if it had to.
    pub async fn resolved(&self, upstream: &Upstream) -> bool {
        let cluster = upstream.cluster();
        if cluster.names.is_empty() || !cluster.endpoints.is_empty() {
            return false;
        }
        self.common.names.ready(&cluster.names).await;
        true
    }

    /// Brings a cluster up to date.
    pub fn refresh(&self, upstream: &Upstream, snapshot: &Snapshot, local: &LocalWorkload) {
        upstream.refresh(snapshot, local, &self.common);
    }

    /// One address that was dialled, and nothing else.
    pub fn direct(
        &self,
        snapshot: &Snapshot,
        local: &LocalWorkload,
        name: impl FnOnce() -> Arc<str>,
        endpoint: &Endpoint,
    ) -> Rc<Upstream> {
        let mut direct = self.direct.borrow_mut();
        if let Some(upstream) = direct.get(&endpoint.address)
            && upstream.is_direct(endpoint)
        {
            return upstream.clone();
        }
        let upstream = Upstream::direct((snapshot, local), name(), endpoint.clone(), &self.common);
        direct.insert(endpoint.address, upstream.clone());
        upstream
    }

    fn each(&self, act: impl Fn(&Upstream)) {
        self.by_host.borrow().values().flatten().for_each(|upstream| act(upstream));
        self.direct.borrow().values().for_each(|upstream| act(upstream));
    }
}
