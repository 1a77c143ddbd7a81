//! Objects about destinations: DestinationRule, ServiceEntry, WorkloadEntry, made into `heddle_core::upstream::model`.

pub mod destination_rule;
pub mod service_entry;

pub use destination_rule::{Credential, destination_rule};
pub use service_entry::endpoints::{WorkloadEntry, workload_entry};
pub use service_entry::{Entry, service_entry};
