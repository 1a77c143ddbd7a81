//! Destinations: which rule counts, which endpoints there are, which is chosen, and how much is too much.

mod cluster;
mod limits;
mod localities;
mod rules;
mod world;
