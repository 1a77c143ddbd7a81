//! Routing: what is matched, in which order, and what follows from it.
#![allow(clippy::unwrap_used, clippy::panic)] // tests

mod actions;
mod gateway;
mod hosts;
mod istio;
mod reference;
mod world;
