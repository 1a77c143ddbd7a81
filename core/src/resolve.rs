//! Where a captured connection goes: the one function that turns an address that was dialled into a destination.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::names::OrigDst;
use crate::snapshot::Snapshot;
use crate::workload::{Service, Workload};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Through the tunnel to this workload, or in clear where it is outside the mesh.
    Workload {
        /// Who is there; its identity must be the one that the TLS handshake shows.
        workload: Arc<Workload>,
        /// Pod address and target port.
        address: SocketAddr,
        /// The service that was dialled; `None` for a pod's own address.
        service: Option<Arc<Service>>,
        /// True: HBONE. False: plain TCP, because the workload is outside the mesh or its port is DISABLE.
        tunnel: bool,
    },
    /// Outside the cluster's ranges: as dialled, in clear.
    Passthrough(SocketAddr),
    /// Inside the cluster's ranges and not known (yet): wait a bounded time for a newer snapshot, then refuse.
    Unknown,
    /// Refused.
    Refused(Refusal),
}

/// Why nothing can be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The service has no such port.
    #[error("the service has no such port")]
    NoSuchPort,
    /// The service has no healthy endpoint of the dialled family.
    #[error("the service has no healthy endpoint")]
    NoEndpoint,
    /// `registry_only` and not registered.
    #[error("the destination is not registered")]
    NotRegistered,
    /// Loopback, IPv6 link-local (it needs a scope), multicast, broadcast, unspecified, or port 0: never dialled on behalf of a pod.
    #[error("the address cannot be a destination")]
    Address,
}

/// Resolves what was dialled. `random` picks the endpoint; the same number picks the same one of the same set.
pub fn resolve(snapshot: &Snapshot, dialled: OrigDst, random: u64) -> Destination {
    let address = dialled.0.ip().to_canonical();
    let port = dialled.0.port();
    if port == 0 || !is_unicast(address) {
        return Destination::Refused(Refusal::Address);
    }
    if let Some(service) = snapshot.service_at(address) {
        return resolve_service(snapshot, service, SocketAddr::new(address, port), random);
    }
    if let Some(workload) = snapshot.workload_at(address) {
        return Destination::Workload {
            address: SocketAddr::new(address, port),
            tunnel: workload.tunnels(port),
            workload: Arc::clone(workload),
            service: None,
        };
    }
    if snapshot.mesh().cluster_ranges.iter().any(|range| range.contains(address)) {
        return Destination::Unknown;
    }
    if snapshot.mesh().registry_only {
        return Destination::Refused(Refusal::NotRegistered);
    }
    Destination::Passthrough(SocketAddr::new(address, port))
}

fn resolve_service(
    snapshot: &Snapshot,
    service: &Arc<Service>,
    dialled: SocketAddr,
    random: u64,
) -> Destination {
    if !service.ports.iter().any(|port| port.service_port == dialled.port()) {
        return Destination::Refused(Refusal::NoSuchPort);
    }
    let candidates = |ready| {
        let all = snapshot.endpoints(&service.key).filter(move |workload| workload.healthy == ready);
        all.filter_map(|workload| endpoint(workload, service, dialled))
    };
    // Two passes over the set instead of a vector per connection.
    let count = |ready| candidates(ready).count() as u64;
    let (ready, count) = match count(true) {
        0 if service.unready => (false, count(false)),
        count => (true, count),
    };
    if count == 0 {
        return Destination::Refused(Refusal::NoEndpoint);
    }
    let chosen = candidates(ready).nth(usize::try_from(random % count).unwrap_or(0));
    match chosen {
        Some((workload, address)) => Destination::Workload {
            tunnel: workload.tunnels(address.port()),
            workload: Arc::clone(workload),
            address,
            service: Some(Arc::clone(service)),
        },
        None => Destination::Refused(Refusal::NoEndpoint),
    }
}

/// The address of a workload as an endpoint of the dialled service port, if it is one: the dialled family first.
fn endpoint<'a>(
    workload: &'a Arc<Workload>,
    service: &Service,
    dialled: SocketAddr,
) -> Option<(&'a Arc<Workload>, SocketAddr)> {
    let (_, ports) = workload.services.iter().find(|(key, _)| *key == service.key)?;
    let port = ports.iter().find(|port| port.service_port == dialled.port())?.target_port;
    if port == 0 {
        return None;
    }
    let same_family = workload.addresses.iter().find(|ip| ip.is_ipv4() == dialled.is_ipv4());
    let address = same_family.or(workload.addresses.first())?;
    Some((workload, SocketAddr::new(*address, port)))
}

fn is_unicast(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || local)
}
