//! Where requests go once a rule has said to whom: endpoints, their health, how one is chosen, and how much is too much.
//!
//! ```text
//! DestinationRule ─► Rules ─┐                     ┌─► ClusterState: Health (outliers), Budget (circuit breaker); shared
//! workloads, entries ───────┴─► Cluster ─► Balancer ─► Picked ─► RetryPolicy: again, elsewhere?
//!                              (immutable) (per worker)
//! ```

pub mod model;

mod affinity;
mod balancer;
mod budget;
mod cluster;
mod destinations;
mod endpoint;
mod health;
mod host;
mod listed;
mod locality;
mod members;
mod places;
mod retry;
mod rules;
mod state;
mod transport;

pub use affinity::Affinity;
pub use balancer::{
    Balancer, EndpointState, EndpointView, Explanation, LevelView, NoEndpoint, PickContext, Picked, hash_key,
};
pub use budget::{Budget, BudgetCounts, BudgetGuard, BudgetKind, BudgetLimits};
pub use cluster::{Cluster, ClusterKey, Discovery, Resolved};
pub use destinations::Destinations;
pub use endpoint::{Client, Endpoint, Excluded, Exclusion, TlsOrigination, Transport};
pub use health::{Ejection, Health, HealthEvent};
pub use host::{ActiveRequest, Host, Seen};
pub use listed::Listed;
pub use locality::LocalityShare;
pub use places::{Place, Places, PoolId, Turn};
pub use retry::{Attempted, RetryPolicy};
pub use state::{ClusterState, ClusterStates};
