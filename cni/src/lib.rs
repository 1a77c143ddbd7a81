//! The CNI plugin: it holds a pod back until the node's agent has it captured, and keeps itself in the node's network configuration.
//!
//! ```text
//! runtime ── CNI_COMMAND, stdin ──► invocation ──► plugin ── ask (Unix socket, root only) ──► agent
//!                                                    └── agent away ──► namespaces.json, excluded namespaces
//! heddle-cni install ──► install ──► folder ──► conflist (first by name), and this binary in the runtime's folder
//! ```
//!
//! A crate of its own because the runtime starts it on the node, once per pod: it is small, has no threads, and links to nothing
//! that the node may lack. The agent uses [`protocol`] and [`enrolled`].

#![forbid(unsafe_code)]

pub mod ask;
pub mod enrolled;
pub mod error;
pub mod install;
pub mod invocation;
pub mod plugin;
pub mod protocol;
pub mod result;
pub mod trust;
pub mod version;
