//! The agent's side of the CNI plugin: a pod is told of before it starts, and may start when it is where the controller wants it.
//!
//! ```text
//! plugin ── cni.sock ──► server ──► verdict (pure: what is known of the pod) ──► wait for the controller, then for enrolment
//!                          └──► records (the pods' folder, which enrolment reads)
//! snapshots ──► away: namespaces.json, for the plugin while no agent runs; and records whose namespace is gone go
//! ```

mod away;
mod metrics;
mod records;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod verdict;

pub use away::keep;
pub use metrics::Metrics;
pub(crate) use records::ENDED;
pub use records::Records;
pub use server::{Server, Views};
pub use socket::{Listening, SocketError, listen};
