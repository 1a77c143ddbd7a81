//! Delta discovery: a stream for each agent, with what it holds, what it was sent, and what it refused.

pub mod agents;
pub mod kind;
pub mod ordering;
pub mod service;
pub mod stream;
