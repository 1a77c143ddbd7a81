//! Wire to core: every resource is checked whole before it may change anything.

mod address;
mod local;
mod mesh;
mod policy;
#[cfg(test)]
mod tests;
mod traffic;

use std::net::IpAddr;

use heddle_core::names::PolicyName;
use heddle_core::object::TrafficObject;
use heddle_core::policy::Policy;
use heddle_core::store::MeshFacts;
use heddle_core::workload::{LocalWorkload, Service, Workload};
use heddle_proto::discovery::Resource;
use prost::Message;

use super::Kind;
use crate::tls::TrustBundle;

/// Longest name that is taken: Kubernetes' own limits (63 + 253, and a prefix) fit several times.
const MAX_NAME: usize = 1024;

/// One resource, as the core knows it.
#[derive(Debug)]
pub enum Change {
    /// Facts about the mesh, and its trusted roots.
    Mesh(MeshFacts, TrustBundle),
    /// A policy.
    Policy(Policy),
    /// An object about traffic.
    Traffic(Box<TrafficObject>),
    /// A workload.
    Workload(Box<Workload>),
    /// A service.
    Service(Service),
    /// A pod of this node.
    Local(LocalWorkload),
}

/// Decodes one resource.
///
/// `trust_domain` is the mesh's: what an empty trust domain on the wire means.
///
/// # Errors
/// What is wrong with it, for a person to read; the caller adds the resource's name.
pub fn resource(kind: Kind, resource: &Resource, trust_domain: &str) -> Result<Change, String> {
    if resource.name.is_empty() || resource.name.len() > MAX_NAME {
        return Err(format!("its name is empty or longer than {MAX_NAME} bytes"));
    }
    let any = resource.resource.as_ref().ok_or("it has no content")?;
    if any.type_url != kind.url() {
        return Err(format!("it is a {} on a stream of {}", any.type_url, kind.url()));
    }
    let bytes = any.value.as_ref();
    let (key, change) = match kind {
        Kind::Mesh => ("mesh".to_owned(), mesh::decode(parse(bytes)?)?),
        Kind::Authorization => policy::decode(parse(bytes)?)?,
        Kind::Traffic => traffic::decode(&parse::<heddle_proto::heddle::v1::TrafficObject>(bytes)?)?,
        Kind::Address => address::decode(parse(bytes)?, trust_domain)?,
        Kind::LocalWorkload => local::decode(&parse(bytes)?, trust_domain)?,
    };
    if key != resource.name {
        return Err(format!("its content is that of '{key}'"));
    }
    Ok(change)
}

fn parse<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    M::decode(bytes).map_err(|error| format!("it is not valid protobuf: {error}"))
}

fn ip(bytes: &[u8]) -> Result<IpAddr, String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(four));
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(sixteen) => Ok(IpAddr::from(sixteen).to_canonical()),
        Err(_wrong_length) => Err(format!("an address has {} bytes; 4 or 16 are right", bytes.len())),
    }
}

fn port(number: u32) -> Result<u16, String> {
    u16::try_from(number).map_err(|_too_large| format!("{number} is not a port"))
}

fn policy_names(names: Vec<String>) -> Result<Box<[PolicyName]>, String> {
    let check = |name: String| match name.split_once('/') {
        Some((namespace, rest)) if !namespace.is_empty() && !rest.is_empty() => Ok(PolicyName::new(name)),
        _ => Err(format!("policy '{name}' is not <namespace>/<name>")),
    };
    names.into_iter().map(check).collect()
}
