//! One cluster as one pod of one worker has it: the balancer, and a pool for each endpoint.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_core::names::Generation;
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::model::ConnectionPool;
use heddle_core::upstream::{
    Balancer, Client, Cluster, ClusterKey, ClusterState, Endpoint, Host, NoEndpoint, PickContext, Picked,
};
use heddle_core::workload::{LocalWorkload, Workload};

use super::clusters::Common;
use super::pool::EndpointPool;
use crate::dns::Wish;

/// Pools of addresses that are no endpoints (as dialled), at most.
const FOREIGN: usize = 256;

/// A cluster.
#[derive(Debug)]
pub struct Upstream {
    key: ClusterKey,
    generation: Cell<Option<Generation>>,
    /// Which answers of DNS it was made with.
    resolved: Cell<u64>,
    /// Has its names looked up for as long as it is there.
    wishes: RefCell<Box<[Arc<Wish>]>>,
    /// Who asks, as it was then.
    client: RefCell<Option<Arc<Workload>>>,
    balancer: RefCell<Balancer>,
    /// Of a cluster that is one address.
    direct: Option<Arc<Endpoint>>,
    pools: RefCell<HashMap<SocketAddr, Rc<EndpointPool>>>,
    /// Of endpoints that are none any more, while requests are under way.
    leaving: RefCell<Vec<Rc<EndpointPool>>>,
    used: Cell<Instant>,
}

impl Upstream {
    pub(super) fn registered(
        snapshot: &Snapshot,
        local: &LocalWorkload,
        key: ClusterKey,
        common: &Common,
    ) -> Rc<Self> {
        // Asked before the answers are: a change in between is found by the next look.
        let resolved = common.names.version();
        let cluster = Arc::new(build(snapshot, local, &key, common));
        let state = common.states.get(&local.identity, &key, &cluster.policy);
        Rc::new(Self {
            key,
            generation: Cell::new(Some(snapshot.generation())),
            resolved: Cell::new(resolved),
            wishes: RefCell::new(common.names.want(&cluster.names)),
            client: RefCell::new(snapshot.workload(&local.workload_uid).cloned()),
            balancer: RefCell::new(Balancer::new(cluster, state, Instant::now())),
            direct: None,
            pools: RefCell::default(),
            leaving: RefCell::default(),
            used: Cell::new(Instant::now()),
        })
    }

    pub(super) fn direct(
        (snapshot, local): (&Snapshot, &LocalWorkload),
        name: Arc<str>,
        endpoint: Endpoint,
        common: &Common,
    ) -> Rc<Self> {
        let key = ClusterKey::new(endpoint.address.ip().to_string(), endpoint.address.port());
        let endpoint = Arc::new(endpoint);
        let mut cluster = build(snapshot, local, &key, common);
        cluster.name = name;
        cluster.endpoints = vec![endpoint.clone()];
        let cluster = Arc::new(cluster);
        let state = common.states.get(&local.identity, &key, &cluster.policy);
        Rc::new(Self {
            key,
            generation: Cell::new(None),
            resolved: Cell::new(0),
            wishes: RefCell::default(),
            client: RefCell::default(),
            balancer: RefCell::new(Balancer::new(cluster, state, Instant::now())),
            direct: Some(endpoint),
            pools: RefCell::default(),
            leaving: RefCell::default(),
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
    pub(super) fn refresh(&self, snapshot: &Snapshot, local: &LocalWorkload, common: &Common) {
        let generation = snapshot.generation();
        let (known, resolved) = (self.generation.get(), self.resolved.get());
        let answers = common.names.version();
        if self.direct.is_some() || (known.is_some_and(|known| known >= generation) && resolved == answers) {
            return;
        }
        self.generation.set(Some(generation));
        self.resolved.set(answers);
        self.part(snapshot, common);
        let before = self.cluster();
        let client = snapshot.workload(&local.workload_uid);
        let same = client.map(Arc::as_ptr) == self.client.borrow().as_ref().map(Arc::as_ptr);
        if same && before.is_current(snapshot) && (before.names.is_empty() || resolved == answers) {
            return;
        }
        *self.client.borrow_mut() = client.cloned();
        let cluster = Arc::new(build(snapshot, local, &self.key, common));
        // The new wishes first: what is wished for still is not forgotten in between.
        let wishes = common.names.want(&cluster.names);
        drop(self.wishes.replace(wishes));
        // The bounds of today, for what is shared already.
        drop(common.states.get(&local.identity, &self.key, &cluster.policy));
        self.pools.borrow_mut().retain(|address, pool| {
            let stays = cluster
                .endpoints
                .iter()
                .any(|endpoint| endpoint.address == *address && pool.serves(endpoint));
            if !stays {
                pool.close();
                self.leaving.borrow_mut().push(pool.clone());
            }
            stays
        });
        self.balancer.borrow_mut().update(cluster, Instant::now());
        self.part(snapshot, common);
    }

    /// Requests to an endpoint that leaves have the time that its pod has.
    fn part(&self, snapshot: &Snapshot, common: &Common) {
        self.leaving.borrow_mut().retain(|pool| {
            let there = |workload: &Arc<Workload>| snapshot.workload(&workload.uid).is_some();
            let gone = pool.endpoint().workload.as_ref().is_some_and(|workload| !there(workload));
            if gone && !pool.is_empty() {
                pool.vanish(&common.tasks);
            }
            !gone && !pool.is_empty()
        });
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
    pub fn pool(&self, endpoint: &Arc<Endpoint>, host: &Host) -> Rc<EndpointPool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(&endpoint.address)
            && pool.serves(endpoint)
        {
            return pool.clone();
        }
        if pools.len() >= FOREIGN.max(self.balancer.borrow().cluster().endpoints.len()) {
            pools.retain(|_, pool| !pool.is_idle());
        }
        let pool = EndpointPool::new(endpoint.clone(), host.places().clone());
        if let Some(before) = pools.insert(endpoint.address, pool.clone()) {
            before.close();
        }
        pool
    }

    pub(super) fn sweep(&self, now: Instant) {
        let idle = idle_timeout(self.cluster().policy.connection_pool.as_ref());
        self.pools.borrow().values().for_each(|pool| pool.sweep(now, idle));
    }

    pub(super) fn is_unused(&self, now: Instant, after: Duration) -> bool {
        now.duration_since(self.used.get()) > after && self.pools.borrow().values().all(|pool| pool.is_idle())
    }

    pub(super) fn close(&self) {
        self.pools.borrow_mut().drain().for_each(|(_, pool)| pool.close());
    }
}

/// How long a connection may be idle; zero: for ever. Istio: `http.idleTimeout`, else `tcp.idleTimeout`, else an hour.
pub fn idle_timeout(pool: Option<&ConnectionPool>) -> Duration {
    let written = pool.and_then(|pool| pool.http_idle_timeout.or(pool.tcp_idle_timeout));
    written.unwrap_or(Duration::from_secs(3600))
}

fn build(snapshot: &Snapshot, local: &LocalWorkload, key: &ClusterKey, common: &Common) -> Cluster {
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
    Cluster::build(snapshot, &client, key, &common.names.answers())
}
