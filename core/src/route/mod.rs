//! Which rule of which object a request or a connection meets: compiled once, asked per request.
//!
//! ```text
//! RouteObject ─compile─► CompiledObject ─build─► RouteTables ─virtual_host─► VirtualHost ─decide─► Decision
//!  (model)     delegate    (cached)      order   (snapshot)    (authority)      index              (rule)
//! ```

mod build;
mod compile;
mod connection;
pub mod cors;
pub mod decision;
mod delegate;
mod explain;
pub mod headers;
mod host;
mod index;
mod matching;
pub mod model;
mod object;
mod order;
pub mod path;
mod pattern;
pub mod redirect;
pub mod request;
mod rewrite;
pub mod rule;
mod table;
pub mod tables;

pub(crate) use build::{Compiler, Inputs};
pub use compile::{DEFAULT_ATTEMPTS, DEFAULT_RETRY_ON, effective_retries};
pub use connection::{ConnectionRule, Dialled};
pub use cors::{CompiledCors, CorsDecision};
pub use decision::{Decision, Matched};
pub use explain::{Candidate, Miss, Trace};
pub use headers::HeaderOps;
pub use host::VirtualHost;
pub use matching::{CompiledMatch, Condition, HeaderKey, PathCondition};
pub use path::{BadPath, CanonicalPath, Normalization};
pub use pattern::{Pattern, Text};
pub use redirect::CompiledRedirect;
pub use request::{Client, RequestHead};
pub use rewrite::CompiledRewrite;
pub use rule::{Action, Choice, CompiledBackend, CompiledRule, Family, Forward};
pub use tables::{Problem, RouteTables};
