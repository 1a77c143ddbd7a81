//! Destinations: which rule counts, which endpoints there are, which is chosen, and how much is too much.
#![allow(clippy::unwrap_used, clippy::panic)] // tests

mod affinity;
mod allocations;
mod asking;
mod balance;
mod cluster;
mod external;
mod limits;
mod localities;
mod rules;
mod standing;
mod world;
