//! A Kubernetes-shaped world on one machine, without Kubernetes: objects, workloads, nodes, pods.
//!
//! ```text
//! heddle sandbox … ──► client ──api.sock──► server ──► store ◄── workloads (controllers, scheduler)
//!       └─► up (directories, fabric, daemon, mesh)       ▲
//!                                                        └── kubelet, dns, proxy (one set a node)
//! ```
pub mod client;
pub mod images;
pub mod server;
pub mod store;
pub mod up;
pub mod workloads;

pub mod cgroup;
pub mod cleanup;
pub mod container;
pub mod dns;
pub mod fabric;
pub mod internal;
pub mod kubelet;
pub mod pod;
pub mod proxy;
