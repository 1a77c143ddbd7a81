//! Routing: what is matched, in which order, and what follows from it.

mod actions;
mod gateway;
mod hosts;
mod istio;
mod reference;
mod world;
