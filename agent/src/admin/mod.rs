//! What people and scrapers ask the agent: a Unix socket for `heddle`, `/metrics` and `/healthz/ready` on the node.
//!
//! ```text
//! heddle (root) ─► admin socket ─► socket ─► views ─┐
//! Prometheus ────► :15020 ─────┬─► public ─► metrics ┼─► Sources (read only)
//! kubelet ───────► :15021 ─────┘                     ┘
//! ```
//!
//! On the control runtime: a slow scrape adds no latency to traffic. Nothing here can change what the mesh does.

mod endpoints;
mod explain;
mod http;
mod judge;
mod listeners;
mod log_level;
mod metrics;
mod public;
mod routes;
mod socket;
mod sources;
mod views;

pub use http::ServeError;
pub use log_level::LogLevel;
pub use public::{serve_metrics, serve_ready};
pub use socket::serve as serve_socket;
pub use sources::Sources;
