//! Certificates of the node's pods: asked for, renewed in time, kept in memory and on a tmpfs, lent to traffic.
//!
//! ```text
//! snapshots ─► renewal ─► issue ─► controller          valid until its end, never longer:
//!                 │  └──► keys (tmpfs)                 a failed renewal removes nothing,
//!                 └─────► Identities ─► traffic        an expired one is not presented
//! ```

mod clock;
mod issue;
mod keys;
mod renewal;
mod schedule;
mod store;
#[cfg(test)]
mod tests;

pub use clock::WallClock;
pub use keys::{KeyStore, KeysError};
pub use renewal::{Renewal, RenewalOptions};
pub use store::{CertificateReport, Identities};
