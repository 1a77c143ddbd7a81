//! Where requests go: clusters as one pod has them, and open connections to their endpoints.
//!
//! ```text
//! clusters ─► cluster (balancer) ─► pool (of one endpoint) ─► connect: tunnel, plain TCP or TLS
//! ```

pub mod bounds;
pub mod cluster;
pub mod clusters;
pub mod connect;
pub mod connection;
mod line;
pub mod pool;
pub mod tls;

pub use bounds::Speak;
pub use cluster::Upstream;
pub use clusters::{Clusters, PodClusters};
pub use connection::Lease;
pub use pool::EndpointPool;
