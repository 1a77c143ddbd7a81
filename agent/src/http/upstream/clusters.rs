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

use super::cluster::Upstream;
use super::names::Names;

/// A cluster that nobody has asked for this long is forgotten.
const UNUSED: Duration = Duration::from_secs(600);

/// Of all pods of a worker.
#[derive(Debug)]
pub struct Clusters {
    pods: RefCell<HashMap<PodUid, Rc<PodClusters>>>,
    common: Common,
}

/// What all clusters look at.
#[derive(Clone, Debug)]
pub struct Common {
    /// What was learned; shared by all workers.
    pub states: Arc<ClusterStates>,
    /// What names stand for.
    pub names: Rc<Names>,
}

/// Of one pod.
#[derive(Debug)]
pub struct PodClusters {
    by_host: RefCell<HashMap<Arc<str>, Vec<Rc<Upstream>>>>,
    direct: RefCell<HashMap<SocketAddr, Rc<Upstream>>>,
    common: Common,
}

impl Clusters {
    /// None yet; `states` are shared by all workers.
    pub fn new(states: Arc<ClusterStates>, names: Rc<Names>) -> Self {
        Self { pods: RefCell::default(), common: Common { states, names } }
    }

    /// Those of a pod.
    pub fn of(&self, pod: &PodUid) -> Rc<PodClusters> {
        let mut pods = self.pods.borrow_mut();
        if let Some(clusters) = pods.get(pod) {
            return clusters.clone();
        }
        let clusters = Rc::new(PodClusters {
            by_host: RefCell::default(),
            direct: RefCell::default(),
            common: self.common.clone(),
        });
        pods.insert(pod.clone(), clusters.clone());
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

    /// Brings a cluster up to date.
    pub fn refresh(&self, upstream: &Upstream, snapshot: &Snapshot, local: &LocalWorkload) {
        upstream.refresh(snapshot, local, &self.common);
    }

    /// One address that was dialled, and nothing else.
    pub fn direct(
        &self,
        snapshot: &Snapshot,
        local: &LocalWorkload,
        name: &Arc<str>,
        endpoint: &Endpoint,
    ) -> Rc<Upstream> {
        let mut direct = self.direct.borrow_mut();
        if let Some(upstream) = direct.get(&endpoint.address)
            && upstream.is_direct(endpoint)
        {
            return upstream.clone();
        }
        let upstream = Upstream::direct((snapshot, local), name.clone(), endpoint.clone(), &self.common);
        direct.insert(endpoint.address, upstream.clone());
        upstream
    }

    fn each(&self, act: impl Fn(&Upstream)) {
        self.by_host.borrow().values().flatten().for_each(|upstream| act(upstream));
        self.direct.borrow().values().for_each(|upstream| act(upstream));
    }
}
