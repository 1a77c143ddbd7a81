//! Which rule of which object a request or a connection meets: compiled once, asked per request.

pub mod model;
