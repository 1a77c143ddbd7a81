//! Routing: what is matched, in which order, and what follows from it.

mod gateway;
mod hosts;
mod istio;
mod reference;
mod world;
