//! Chooses an endpoint for each request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::host::Host;
use crate::upstream::state::ClusterState;

/// What one choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct PickContext<'a> {
    /// Of what `consistentHash` names; `None` where the request lacks it.
    pub hash: Option<u64>,
    /// A number at random.
    pub random: u64,
    /// The time.
    pub now: Instant,
    /// Endpoints that this request was sent to already: passed over while others are left.
    pub tried: &'a [SocketAddr],
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
    cluster: Arc<Cluster>,
    state: Arc<ClusterState>,
    hosts: Vec<Arc<Host>>,
    turn: AtomicUsize,
}

impl Balancer {
    /// For a cluster.
    pub fn new(cluster: Arc<Cluster>, state: Arc<ClusterState>, now: Instant) -> Self {
        let members = cluster.endpoints.iter().map(|endpoint| endpoint.address);
        let hosts = state.health.set_members(members, now);
        Self { cluster, state, hosts, turn: AtomicUsize::new(0) }
    }

    /// The same cluster with other endpoints or another policy: turns and warm-ups of those that stay go on.
    pub fn update(&mut self, cluster: Arc<Cluster>, now: Instant) {
        *self = Self::new(cluster, Arc::clone(&self.state), now);
    }

    /// What it chooses from.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// What was learned.
    pub fn state(&self) -> &Arc<ClusterState> {
        &self.state
    }

    /// What is known of an endpoint.
    pub fn host(&self, index: usize) -> &Arc<Host> {
        &self.hosts[index]
    }

    /// Chooses.
    pub fn pick(&self, context: &PickContext<'_>) -> Result<Picked, NoEndpoint> {
        if self.cluster.service.is_none() || self.cluster.missing_subset {
            return Err(NoEndpoint::NoCluster);
        }
        let count = self.hosts.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut turns = (0..count).map(|step| (turn + step) % count);
        let fresh = turns.find(|at| !context.tried.contains(&self.hosts[*at].address()));
        let Some(index) = fresh.or_else(|| turn.checked_rem(count)) else {
            return Err(NoEndpoint::NoHealthy);
        };
        Ok(Picked {
            index: Some(index),
            endpoint: Arc::clone(&self.cluster.endpoints[index]),
            host: Arc::clone(&self.hosts[index]),
        })
    }
}
