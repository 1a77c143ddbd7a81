//! Where requests go once a rule has said to whom: endpoints, their health, how one is chosen, and how much is too much.

pub mod model;
