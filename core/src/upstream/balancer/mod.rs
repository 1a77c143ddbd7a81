//! Chooses an endpoint for each request.
//!
//! ```text
//! Cluster ─► Pool ─► Plan: loads of priorities ─► places ─► turns | pair | random | ring ─► index
//!  health ─────────►  (made anew when either changes; choosing allocates nothing)
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::host::Host;
use crate::upstream::model::Algorithm;
use crate::upstream::state::ClusterState;

mod edf;
mod explain;
mod hash;
mod plan;
mod priority;
mod warmup;

pub use explain::{EndpointState, EndpointView, Explanation, LevelView};
pub use hash::hash_key;

use edf::Lags;
use plan::{Plan, Pool, mix};
use priority::{Load, elsewhere};

/// Envoy tries so often to choose another than was tried (`host_selection_retry_max_attempts`); then everybody is looked at.
const ATTEMPTS: u64 = 5;

/// What one choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct PickContext<'a> {
    /// Of what `consistentHash` names ([`hash_key`]); `None` where the request lacks it.
    pub hash: Option<u64>,
    /// A number at random.
    pub random: u64,
    /// The time.
    pub now: Instant,
    /// Endpoints that this request was sent to already: passed over while others of their priority are left.
    pub tried: &'a [SocketAddr],
    /// Priorities that it was sent to, one of each try, where it may leave them (`retryRemoteLocalities`).
    pub left: &'a [u32],
    /// What the client dialled: where PASSTHROUGH, headless services and entries without resolution go.
    pub dialled: Option<SocketAddr>,
}

/// The choice.
#[derive(Clone, Debug)]
pub struct Picked {
    /// Position in the cluster's endpoints; `None`: an address of no endpoint (as dialled).
    pub index: Option<usize>,
    /// Where to.
    pub endpoint: Arc<Endpoint>,
    /// What is known of it: to be told what came of the request.
    pub host: Arc<Host>,
}

/// Why there is no choice. Displayed it is the access log's word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEndpoint {
    /// Nobody has announced the host, or it has no such subset: 503 `NC`.
    #[error("NC")]
    NoCluster,
    /// Nobody is there, or all are set aside: 503 `UH`.
    #[error("UH")]
    NoHealthy,
}

/// Chooses among the endpoints of one cluster, for one client identity. Each worker has its own; the load and health
/// of endpoints are shared.
#[derive(Debug)]
pub struct Balancer {
    pool: Pool,
    state: Arc<ClusterState>,
    planned: Mutex<Planned>,
}

#[derive(Debug, Default)]
struct Planned {
    plan: Option<Plan>,
    /// Turns of the plan before.
    lags: Lags,
}

impl Balancer {
    /// For a cluster.
    pub fn new(cluster: Arc<Cluster>, state: Arc<ClusterState>, now: Instant) -> Self {
        let members = cluster.endpoints.iter().map(|endpoint| endpoint.address);
        let hosts = state.health.set_members(members, now);
        Self { pool: Pool::new(cluster, hosts), state, planned: Mutex::default() }
    }

    /// The same cluster with other endpoints or another policy: turns and warm-ups of those that stay go on.
    pub fn update(&mut self, cluster: Arc<Cluster>, now: Instant) {
        let hosts = &self.pool.hosts;
        let planned = self.planned();
        let lags = planned.plan.as_ref().map(|plan| plan.lags(hosts.len())).unwrap_or_default();
        drop(planned);
        let addresses = hosts.iter().map(|host| host.address());
        let lags: HashMap<SocketAddr, f64> =
            addresses.zip(lags).filter_map(|(address, lag)| Some((address, lag?))).collect();
        // Let go of before the set is changed: who has left it is forgotten with the last balancer that knows it.
        self.pool.hosts.clear();
        let mut next = Self::new(cluster, Arc::clone(&self.state), now);
        let due = next.pool.hosts.iter().map(|host| lags.get(&host.address()).copied()).collect();
        next.planned = Mutex::new(Planned { plan: None, lags: due });
        *self = next;
    }

    /// What it chooses from.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.pool.cluster
    }

    /// What was learned.
    pub fn state(&self) -> &Arc<ClusterState> {
        &self.state
    }

    /// What is known of an endpoint.
    pub fn host(&self, index: usize) -> &Arc<Host> {
        &self.pool.hosts[index]
    }

    /// Chooses.
    pub fn pick(&self, context: &PickContext<'_>) -> Result<Picked, NoEndpoint> {
        let cluster = &self.pool.cluster;
        if !cluster.is_known() {
            return Err(NoEndpoint::NoCluster);
        }
        if let Some((index, endpoint)) = context.dialled.and_then(|dialled| cluster.find_dialled(dialled)) {
            let host = match index {
                Some(index) => Arc::clone(&self.pool.hosts[index]),
                None => self.state.health.host(endpoint.address, context.now),
            };
            return Ok(Picked { index, endpoint, host });
        }
        self.state.health.sweep(context.now);
        let mut planned = self.planned();
        let plan = self.plan(&mut planned, context.now, context.random);
        let index = choose(&self.pool, plan, context).ok_or(NoEndpoint::NoHealthy)?;
        drop(planned);
        let index = index as usize;
        Ok(Picked {
            index: Some(index),
            endpoint: Arc::clone(&cluster.endpoints[index]),
            host: Arc::clone(&self.pool.hosts[index]),
        })
    }

    fn planned(&self) -> MutexGuard<'_, Planned> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plan as of now.
    fn plan<'a>(&self, planned: &'a mut Planned, now: Instant, random: u64) -> &'a mut Plan {
        let version = self.state.health.version();
        let Planned { plan, lags } = planned;
        if plan.as_ref().is_some_and(|plan| plan.is_stale(version, now)) {
            *lags = plan.take().map(|plan| plan.lags(self.pool.hosts.len())).unwrap_or_default();
        }
        plan.get_or_insert_with(|| Plan::new(&self.pool, version, now, random, lags))
    }
}

fn choose(pool: &Pool, plan: &mut Plan, context: &PickContext<'_>) -> Option<u32> {
    let hashed = matches!(pool.algorithm, Algorithm::ConsistentHash { .. });
    let number = context.hash.filter(|_| hashed).unwrap_or(context.random);
    let elsewhere = elsewhere(&plan.health, context.left);
    let at = by_percent(elsewhere.as_deref().unwrap_or(&plan.loads), number)?;
    // A ring is spread over all 64 bits, and few random numbers have as many.
    let random = if hashed && context.hash.is_some() { number } else { mix(number) };
    let host = |index: u32| &pool.hosts[index as usize];
    let tried = |index: u32| context.tried.contains(&host(index).address());
    let avoided = |index: u32| tried(index) || host(index).is_resting(context.now);
    let mut last = None;
    for attempt in 0..=ATTEMPTS {
        last = plan.levels[at].choose(pool, context.now, random, attempt);
        if last.is_none_or(|index| !avoided(index)) {
            return last;
        }
    }
    let find = |level: usize, avoided: &dyn Fn(u32) -> bool| {
        let members = || plan.levels[level].members();
        let skip = usize::try_from(random % members().count().max(1) as u64).unwrap_or(0);
        members().skip(skip).chain(members().take(skip)).find(|index| !avoided(*index))
    };
    // Chance had its turns: whoever of this priority is not avoided. Only where all of it rest do others stand in for it.
    let rest = || plan.levels[at].members().all(|index| host(index).is_resting(context.now));
    let mut others = (0..plan.levels.len()).filter(|level| *level != at);
    find(at, &avoided)
        .or_else(|| others.find_map(|level| find(level, &avoided)).filter(|_| rest()))
        .or_else(|| find(at, &tried))
        .or(last)
}

/// The priority of a number.
fn by_percent(loads: &[Load], number: u64) -> Option<usize> {
    let number = number % 100 + 1;
    let mut sum = 0;
    loads.iter().position(|load| {
        sum += u64::from(load.percent);
        number <= sum
    })
}
