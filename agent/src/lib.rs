//! The node agent: it captures the pods of one node, speaks the mesh's tunnel for them, and takes orders from the controller.
//!
//! ```text
//!              controller ── delta xDS, certificates ──► control ── watch<Arc<Snapshot>> ──┬────────────┐
//!                                                          │                               ▼            ▼
//! CNI plugin ──► cni ──► records ─┐
//! pods of the node ──► node ──► pod ──► datapath (eBPF, in-pod listeners) ── PodListeners ──────► traffic ◄── identity
//!                                                          │                               │            (certificates)
//!                                                        admin ◄── telemetry ◄─────────────┘
//! ```
//!
//! `control`, `identity` and `admin` share one runtime; each worker of `traffic` has its own (STYLE 32).

pub mod admin;
pub mod check;
pub mod cni;
pub mod control;
pub mod datapath;
pub mod dns;
pub mod http;
pub mod identity;
pub mod node;
pub mod options;
pub mod pod;
pub mod process;
pub mod remove;
pub mod run;
pub mod telemetry;
pub mod tls;
pub mod traffic;
pub mod verb;
