//! What names stand for that clusters depend on (ServiceEntry `DNS`), as each pod's own resolver would say it.
//!
//! ```text
//! cluster ─► wish ─► names (one refresher a pod and name, whatever worker asks) ─► resolver ─► sockets in the pod's netns
//!                                                                                  └ files: its resolv.conf and hosts
//! ```
//!
//! Answers of one pod are never another's: a pod may rewrite what it is told, and only its own connections may follow that.

mod files;
pub mod names;
pub mod resolver;

pub use names::{Names, PodNames, Wish};
pub use resolver::{Found, Lookup, LookupError, PodLookup};
