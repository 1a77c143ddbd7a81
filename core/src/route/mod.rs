//! Which rule of which object a request or a connection meets: compiled once, asked per request.
//!
//! ```text
//! RouteObject ─compile─► rules ─merge─► RouteTables ─virtual_host─► VirtualHost ─decide─► Decision
//!  (model)               (cached)       (snapshot)    (authority)                          (rule)
//! ```

pub mod cors;
pub mod decision;
pub mod headers;
pub mod model;
pub mod path;
pub mod redirect;
pub mod request;
pub mod rule;
pub mod tables;

pub use decision::{Decision, Matched};
pub use path::{BadPath, CanonicalPath, Normalization};
pub use request::{Client, RequestHead};
pub use rule::{Action, CompiledBackend, CompiledRule, Forward};
pub use tables::{RouteTables, VirtualHost};
