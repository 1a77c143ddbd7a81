//! Objects about destinations: DestinationRule, ServiceEntry, WorkloadEntry, made into `heddle_core::upstream::model`.

pub mod destination_rule;

pub use destination_rule::{Credential, destination_rule};
