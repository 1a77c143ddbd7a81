//! One cluster as one pod of one worker has it: the balancer, and a pool for each endpoint.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_core::names::Generation;
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::{
    Balancer, Client, Cluster, ClusterKey, ClusterState, ClusterStates, Endpoint, NoEndpoint, PickContext,
    Picked, Resolved,
};
use heddle_core::workload::LocalWorkload;

use super::pool::EndpointPool;

/// Pools of addresses that are no endpoints (as dialled), at most.
const FOREIGN: usize = 256;

/// A cluster.
#[derive(Debug)]
pub struct Upstream {
    key: ClusterKey,
    generation: Cell<Option<Generation>>,
    balancer: RefCell<Balancer>,
    /// Of a cluster that is one address.
    direct: Option<Arc<Endpoint>>,
    pools: RefCell<HashMap<SocketAddr, Rc<EndpointPool>>>,
    used: Cell<Instant>,
}

impl Upstream {
    pub(super) fn registered(
        snapshot: &Snapshot,
        local: &LocalWorkload,
        key: ClusterKey,
        states: &ClusterStates,
    ) -> Rc<Self> {
        let cluster = Arc::new(build(snapshot, local, &key));
        let state = states.get(&local.identity, &key, &cluster.policy);
        Rc::new(Self {
            key,
            generation: Cell::new(Some(snapshot.generation())),
            balancer: RefCell::new(Balancer::new(cluster, state, Instant::now())),
            direct: None,
            pools: RefCell::default(),
            used: Cell::new(Instant::now()),
        })
    }

    pub(super) fn direct(
        (snapshot, local): (&Snapshot, &LocalWorkload),
        name: Arc<str>,
        endpoint: Endpoint,
        states: &ClusterStates,
    ) -> Rc<Self> {
        let key = ClusterKey::new(endpoint.address.ip().to_string(), endpoint.address.port());
        let endpoint = Arc::new(endpoint);
        let mut cluster = build(snapshot, local, &key);
        cluster.name = name;
        cluster.endpoints = vec![endpoint.clone()];
        let cluster = Arc::new(cluster);
        let state = states.get(&local.identity, &key, &cluster.policy);
        Rc::new(Self {
            key,
            generation: Cell::new(None),
            balancer: RefCell::new(Balancer::new(cluster, state, Instant::now())),
            direct: Some(endpoint),
            pools: RefCell::default(),
            used: Cell::new(Instant::now()),
        })
    }

    /// Which.
    pub fn key(&self) -> &ClusterKey {
        &self.key
    }

    /// As it is now.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.balancer.borrow().cluster().clone()
    }

    /// What was learned.
    pub fn state(&self) -> Arc<ClusterState> {
        self.balancer.borrow().state().clone()
    }

    pub(super) fn is_direct(&self, endpoint: &Endpoint) -> bool {
        self.direct.as_deref() == Some(endpoint)
    }

    /// Brings it up to date with a snapshot.
    pub(super) fn refresh(&self, snapshot: &Snapshot, local: &LocalWorkload, states: &ClusterStates) {
        let generation = snapshot.generation();
        if self.direct.is_some() || self.generation.get().is_some_and(|known| known >= generation) {
            return;
        }
        self.generation.set(Some(generation));
        if self.balancer.borrow().cluster().is_current(snapshot) {
            return;
        }
        let cluster = Arc::new(build(snapshot, local, &self.key));
        // The bounds of today, for what is shared already.
        drop(states.get(&local.identity, &self.key, &cluster.policy));
        self.pools.borrow_mut().retain(|address, pool| {
            let stays = cluster
                .endpoints
                .iter()
                .any(|endpoint| endpoint.address == *address && pool.serves(endpoint));
            if !stays {
                pool.close();
            }
            stays
        });
        self.balancer.borrow_mut().update(cluster, Instant::now());
    }

    /// Chooses an endpoint. `first` is taken if it is one: a connection to it is open already.
    ///
    /// # Errors
    /// There is none.
    pub fn pick(&self, context: &PickContext<'_>, first: Option<SocketAddr>) -> Result<Picked, NoEndpoint> {
        self.used.set(Instant::now());
        let balancer = self.balancer.borrow();
        if let Some(endpoint) = &self.direct {
            return Ok(Picked { index: Some(0), endpoint: endpoint.clone(), host: balancer.host(0).clone() });
        }
        if let Some(first) = first
            && context.hash.is_none()
            && let Some(index) =
                balancer.cluster().endpoints.iter().position(|endpoint| endpoint.address == first)
            && !balancer.host(index).is_ejected()
        {
            let endpoint = balancer.cluster().endpoints[index].clone();
            return Ok(Picked { index: Some(index), endpoint, host: balancer.host(index).clone() });
        }
        balancer.pick(context)
    }

    /// The connections to an endpoint.
    pub fn pool(&self, endpoint: &Arc<Endpoint>) -> Rc<EndpointPool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(&endpoint.address)
            && pool.serves(endpoint)
        {
            return pool.clone();
        }
        if pools.len() >= FOREIGN.max(self.balancer.borrow().cluster().endpoints.len()) {
            pools.retain(|_, pool| !pool.is_idle());
        }
        let pool = EndpointPool::new(endpoint.clone());
        if let Some(before) = pools.insert(endpoint.address, pool.clone()) {
            before.close();
        }
        pool
    }

    pub(super) fn sweep(&self, now: Instant) {
        let idle = self.cluster().policy.connection_pool.as_ref().and_then(|pool| pool.http_idle_timeout);
        let idle = idle.filter(|idle| !idle.is_zero()).unwrap_or(Duration::from_secs(3600));
        self.pools.borrow().values().for_each(|pool| pool.sweep(now, idle));
    }

    pub(super) fn is_unused(&self, now: Instant, after: Duration) -> bool {
        now.duration_since(self.used.get()) > after && self.pools.borrow().values().all(|pool| pool.is_idle())
    }

    pub(super) fn close(&self) {
        self.pools.borrow_mut().drain().for_each(|(_, pool)| pool.close());
    }
}

fn build(snapshot: &Snapshot, local: &LocalWorkload, key: &ClusterKey) -> Cluster {
    let client = match snapshot.workload(&local.workload_uid) {
        Some(workload) => Client::of(workload),
        None => Client {
            namespace: local.identity.namespace(),
            labels: &local.labels,
            locality: [""; 3],
            node: "",
            addresses: &[],
        },
    };
    Cluster::build(snapshot, &client, key, &Resolved::default())
}
