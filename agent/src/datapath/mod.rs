//! Everything between the agent and the kernel: eBPF objects, in-pod listeners, and which pods are captured.
//!
//! ```text
//! pod records ─┐                       ┌─► kernel maps, links, guards   (pinned; they outlive the agent)
//!              ├─► Enrolment (a level) ┤
//! snapshots ───┘                       └─► WorkerCommand: in-pod listeners, one set per worker
//!                                 Sockets: who dialled what, and dials from inside a pod
//! ```
//!
//! This module is the boundary behind which a long-lived keeper process can own the kernel side one day: nothing
//! outside of it holds a map, a link or a namespace.

pub mod enrolment;
pub mod error;
pub mod features;
pub mod inspect;
pub mod kernel;
pub mod place;
pub mod sockets;

mod attach;
mod bpf;
mod bpffs;
mod capture;
mod cgroup;
mod clsact;
mod destroy;
mod diag;
mod earlier;
mod endpoint;
mod listeners;
mod maps;
mod modes;
mod netlink;
mod netns;
mod object;
mod records;
mod remove;
mod running;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod veth;

pub use crate::traffic::command::{PodListeners, WorkerCommand};
pub use crate::traffic::network::Purpose;
pub use enrolment::{Applied, Captured, EnrolmentHandle, EnrolmentOptions};
pub use error::DatapathError;
pub use heddle_abi::{OUTBOUND_PORT, PLAINTEXT_PORT, TUNNEL_PORT};
pub use kernel::{Datapath, DatapathOptions};
pub use remove::{Removed, remove};
pub use sockets::Sockets;
