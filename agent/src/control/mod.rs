//! Configuration: the discovery stream, its translation into the core's types, and the copy on disk.
//!
//! ```text
//! connect ─► session ─► decode ─► tables ─► watch<Arc<Snapshot>> ─► datapath, traffic, identity
//!               ▲                   │                                   │
//!               └──── ACK, NACK ────┼─────────── gate ◄── applied ──────┘
//!                                   └─► saved (disk)
//! ```
//!
//! One task owns the tables. Nothing here is on the path of a connection.

mod backoff;
mod connect;
pub mod decode;
#[cfg(test)]
pub(crate) mod fake;
mod gate;
mod kind;
pub mod saved;
mod session;
mod status;
mod tables;
mod task;
#[cfg(test)]
mod tests;

pub(crate) use backoff::{Backoff, jitter, random};
pub use connect::{ConnectError, Controller};
pub use gate::gate;
pub use kind::Kind;
pub use status::{ControlStatus, TypeReport};
pub use task::{Control, ControlOptions, Publications};
