//! The end-to-end harness: a sandbox driven by its command line as a user drives it, and a capture of the wire.
//!
//! The demo (`src/bin/demo`) and the sandbox tests (`tests/`) are written with it; `src/bin/probe` is what they run inside pods.

pub mod capture;
pub mod mesh;
pub mod packet;
pub mod report;
pub mod sandbox;
pub mod suite;
pub mod world;
