//! Containers: real processes in a pod's namespaces, entered through a re-exec of the same binary.

pub mod enter;
mod entry;
mod exec;
mod process;
mod root;

pub use entry::{Entry, Mount};
pub use exec::{Target, exec};
pub use process::{Exit, Process};
