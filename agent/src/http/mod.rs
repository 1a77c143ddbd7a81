//! HTTP in the client's agent: every request finds its rule, its endpoint and a connection to it.
//!
//! ```text
//!                 ┌─ shared with the destination's agent ──────────┐
//! io ─► framing ─►│ server (hyper) ── Request<Incoming> ─► service │
//!                 │ client (hyper) ◄─ Request<Body> ◄──────┘       │
//!                 └────────────────────────────────────────────────┘
//! ```

pub mod body;
pub mod client;
pub mod framing;
pub mod io;
pub mod record;
pub mod server;

pub use body::{Body, BoxError, Watch};
pub use io::{HttpIo, Wire};
pub use record::{Flags, RequestRecord};
