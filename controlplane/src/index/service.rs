//! The wire form of services, and their ports at an endpoint.

use std::collections::BTreeSet;
use std::net::IpAddr;

use heddle_core::workload::L7Mode;
use heddle_proto::heddle::v1::ServiceExtension;
use heddle_proto::istio::workload::load_balancing::{HealthPolicy, Mode, Scope};
use heddle_proto::istio::workload::{
    Address, AppProtocol, Extension, IpFamilies, LoadBalancing, NetworkAddress, Port, PortList, Service,
    address,
};
use heddle_proto::type_url;
use prost::Message;

use super::input::{Distribution, Key, PodInput, ServiceInput, SliceInput, TargetPort};
use super::l7;

/// `<name>.<namespace>.svc.<cluster domain>`.
pub(super) fn hostname(key: &Key, cluster_domain: &str) -> String {
    format!("{}.{}.svc.{cluster_domain}", key.name, key.namespace)
}

/// WDS name of a service: `<namespace>/<hostname>`.
pub(super) fn resource_name(key: &Key, cluster_domain: &str) -> String {
    format!("{}/{}", key.namespace, hostname(key, cluster_domain))
}

/// The resource of a service; none for an alias of an outside name.
pub(super) fn resource(
    key: &Key,
    service: &ServiceInput,
    (l7, namespaces): (Option<L7Mode>, Option<Distribution>),
    cluster_domain: &str,
) -> Option<Address> {
    if service.external_name {
        return None;
    }
    let ports = service.ports.iter().map(|port| Port {
        service_port: port.port.into(),
        target_port: match port.target {
            TargetPort::Number(number) => number.into(),
            TargetPort::Name(_) => 0,
        },
        app_protocol: app_protocol(&port.protocol).into(),
    });
    let load_balancing = load_balancing(service, namespaces);
    let service = Service {
        name: key.name.to_string(),
        namespace: key.namespace.to_string(),
        hostname: hostname(key, cluster_domain),
        addresses: service.addresses.iter().map(|address| network_address(*address)).collect(),
        ports: ports.collect(),
        load_balancing,
        ip_families: families(&service.addresses).into(),
        canonical: true,
        extensions: extension(l7, export_to(&key.namespace, &service.export_to)).into_iter().collect(),
        ..Service::default()
    };
    Some(Address { r#type: Some(address::Type::Service(service)) })
}

/// As istiod says it to a ztunnel.
fn load_balancing(service: &ServiceInput, namespaces: Option<Distribution>) -> Option<LoadBalancing> {
    use Scope::{Network, Node, Region, Subzone, Zone};
    let (scopes, mode): (&[Scope], Mode) = match service.distribution.or(namespaces) {
        _ if service.local_only => (&[Node], Mode::Strict),
        Some(Distribution::SameZone) => (&[Network, Region, Zone], Mode::Failover),
        Some(Distribution::SameNode) => (&[Network, Region, Zone, Subzone, Node], Mode::Failover),
        Some(Distribution::Any) | None => (&[], Mode::UnspecifiedMode),
    };
    let health = if service.publish_not_ready { HealthPolicy::AllowAll } else { HealthPolicy::OnlyHealthy };
    let said = LoadBalancing {
        routing_preference: scopes.iter().map(|scope| (*scope).into()).collect(),
        mode: mode.into(),
        health_policy: health.into(),
    };
    (said != LoadBalancing::default()).then_some(said)
}

/// Namespaces that see it, as on the wire: none are all. `~` stays: no namespace is called so.
pub(super) fn export_to(namespace: &str, written: &[String]) -> Vec<String> {
    if written.iter().any(|word| word == "*") {
        return Vec::new();
    }
    let resolved = written.iter().map(|word| if word == "." { namespace } else { word });
    let sorted: BTreeSet<&str> = resolved.filter(|word| !word.is_empty()).collect();
    sorted.into_iter().map(str::to_owned).collect()
}

/// What Istio's message has no field for, where there is something to say.
pub(super) fn extension(l7: Option<L7Mode>, export_to: Vec<String>) -> Option<Extension> {
    let extension = ServiceExtension { l7: l7.map(|mode| l7::wire(mode).into()), export_to };
    if extension == ServiceExtension::default() {
        return None;
    }
    let config = prost_types::Any {
        type_url: type_url::SERVICE_EXTENSION_URL.to_owned(),
        value: extension.encode_to_vec(),
    };
    Some(Extension { name: type_url::SERVICE_EXTENSION.to_owned(), config: Some(config) })
}

/// The ports of a service at one of its pods; a named port that the pod does not have is left out.
pub(super) fn ports_at_pod(service: &ServiceInput, pod: &PodInput) -> PortList {
    let ports = service.ports.iter().filter_map(|port| {
        let target = match &port.target {
            TargetPort::Number(number) => *number,
            TargetPort::Name(name) => pod.ports.iter().find(|(held, _)| held == name)?.1,
        };
        Some(mapping(port.port, target, &port.protocol))
    });
    PortList { ports: ports.collect() }
}

/// The ports of a service at an endpoint of a slice, which pairs them by name.
pub(super) fn ports_at_slice(service: &ServiceInput, slice: &SliceInput) -> PortList {
    let ports = service.ports.iter().filter_map(|port| {
        let target = slice.ports.iter().find(|(name, _)| *name == port.name)?.1;
        Some(mapping(port.port, target, &port.protocol))
    });
    PortList { ports: ports.collect() }
}

/// 4 or 16 bytes, network order.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// On the wire.
pub(super) fn network_address(address: IpAddr) -> NetworkAddress {
    NetworkAddress { address: octets(address), ..NetworkAddress::default() }
}

fn mapping(service_port: u16, target_port: u16, protocol: &str) -> Port {
    Port {
        service_port: service_port.into(),
        target_port: target_port.into(),
        app_protocol: app_protocol(protocol).into(),
    }
}

/// Of a service.
pub(super) fn families(addresses: &[IpAddr]) -> IpFamilies {
    match (addresses.iter().any(IpAddr::is_ipv4), addresses.iter().any(IpAddr::is_ipv6)) {
        (true, true) => IpFamilies::Dual,
        (true, false) => IpFamilies::Ipv4Only,
        (false, true) => IpFamilies::Ipv6Only,
        (false, false) => IpFamilies::Automatic,
    }
}

fn app_protocol(text: &str) -> AppProtocol {
    match text.to_ascii_lowercase().as_str() {
        "http" | "kubernetes.io/ws" => AppProtocol::Http11,
        "http2" | "kubernetes.io/h2c" => AppProtocol::Http2,
        "grpc" | "grpc-web" => AppProtocol::Grpc,
        "tcp" | "mongo" | "mysql" | "redis" => AppProtocol::Tcp,
        "tls" | "https" | "kubernetes.io/wss" => AppProtocol::Tls,
        _ => AppProtocol::Unknown,
    }
}
