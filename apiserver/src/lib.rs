//! A double of Kubernetes' API server, for tests: honest about list and watch, conflicts, server-side apply, tokens and RBAC.
//!
//! ```text
//! serve ──► tokens (who) ──► faults ──► access (may they) ──► desk ──► write ─► owners, schema ─► store ─► watch
//!  (HTTP)                                                       └────► discovery, reviews
//! ```
//!
//! Where it is simpler than the real one:
//! - There are no controllers: nothing makes pods, endpoints, default service accounts or tokens; owners' references collect
//!   nothing. Namespaces do take along what is in them, and CustomResourceDefinitions are established at once.
//! - Kubernetes' own kinds have no schema: no defaults, no validation beyond names, no conversion between versions but of
//!   `apiVersion`. Of custom ones types, bounds, enumerations and required fields are checked and unknown fields cut off, in
//!   `spec` and `status`; patterns, formats and CEL rules are not.
//! - JSON and YAML only: no protobuf, no tables, no OpenAPI (kubectl needs `--validate=false`), no aggregated discovery.
//! - A strategic merge patch merges lists by `name` only, and knows `$patch: delete` alone. Server-side apply knows which
//!   lists of Kubernetes' own kinds merge by a table of names, and of custom ones what their schema says.
//! - No admission webhooks, quotas, priority and fairness, proxying, exec, logs, evictions, scale; no aggregated ClusterRoles,
//!   no escalation check. Certificates of clients mean nothing.
//! - The log of events is kept until it is compacted by hand or has 100,000 entries; nothing is kept on disk.
#![forbid(unsafe_code)]

mod access;
mod control;
mod desk;
mod discovery;
mod double;
mod failure;
mod faults;
mod fields;
mod owners;
mod patch;
mod request;
mod resource;
mod reviews;
mod schema;
mod selector;
mod serve;
mod store;
mod tls;
mod tokens;
mod watch;
mod world;
mod write;

pub use double::{ADMIN, Double, Setup};
pub use faults::{Fault, What};
pub use tokens::TokenSpec;
