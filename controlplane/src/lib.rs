//! The controller: objects in, discovery and certificates out.
//!
//! ```text
//! registry ──Batch──► engine ──Published──► xds::service ──► agents
//!  (directory, cluster) index   (watch)  └► ca::service          │
//!     ▲                  ▲               └► admin                │
//!     └── status ◄─verdicts─┘ └──────────── AgentEvent ◄─────────┘
//!
//! ca::keeper ──Trust──► engine, ca::service, roots (a ConfigMap in every namespace)
//! ```
//!
//! The engine owns the index and is its only writer. Streams, certificates and admin read publications.
#![forbid(unsafe_code)]

pub mod generated;
pub mod options;
pub mod rights;
pub mod verb;

pub mod registry;

pub mod index;

pub mod engine;
pub mod published;
pub mod readiness;

pub mod auth;
pub mod ca;
pub mod limit;
pub mod listener;
pub mod roots;
pub mod xds;

pub mod admin;
pub mod analysis;
pub mod metrics;
pub mod status;

pub mod controller;
mod environment;
