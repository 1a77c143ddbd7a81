//! HTTP in the client's agent: every request finds its rule, its endpoint and a connection to it.
//!
//! ```text
//! stage ─► request ─► routing ─► forward ─► attempt ─► upstream (cluster, pool, connect)
//!             │          └─► local (answers of our own)      │
//!             └────────── exchange ─► record ◄───────────────┘ ─► telemetry
//!
//! shared with the destination's agent: io ─► framing ─► server (hyper), client (hyper), body, record
//! ```

pub mod attempt;
pub mod bodies;
pub mod body;
pub mod client;
pub mod date;
pub mod exchange;
pub mod forward;
pub mod framing;
pub mod hashing;
pub mod head;
pub mod io;
pub mod local;
pub mod mirror;
pub mod record;
pub mod replay;
pub mod request;
pub mod routing;
pub mod server;
pub mod sniff;
pub mod stage;
pub mod state;
pub mod upgrade;
pub mod upstream;

pub use body::{Body, BoxError, Watch};
pub use io::{HttpIo, Wire};
pub use record::{Flags, RequestRecord};
pub use state::HttpState;
