//! The brain of the mesh, pure: who a flow is, where it goes, and whether it may.
//!
//! ```text
//! identity ─┐
//! workload ─┼─► store ──► snapshot ──► resolve ──► authorize ──► Permit
//! policy  ──┘   (mutable,  (immutable)  where to?    may it?
//!                one owner)
//! ```
//!
//! No clock, environment, randomness or IO: time and random numbers are arguments (STYLE 4).
#![forbid(unsafe_code)]

pub mod authorize;
pub mod identity;
pub mod mtls;
pub mod names;
pub mod object;
pub mod policy;
pub mod resolve;
pub mod route;
pub mod snapshot;
pub mod store;
pub mod upstream;
pub mod workload;
