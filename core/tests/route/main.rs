//! Routing: what is matched, in which order, and what follows from it.

mod istio;
mod world;
