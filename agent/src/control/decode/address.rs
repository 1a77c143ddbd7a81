//! `istio.workload.Address`: workloads and services.

use std::collections::BTreeMap;

use heddle_core::identity::Identity;
use heddle_core::mtls::is_strict;
use heddle_core::names::{NodeName, ServiceKey, WorkloadUid};
use heddle_core::object::ExportTo;
use heddle_core::upstream::model::Protocol;
use heddle_core::workload::{PortMapping, Routing, Scope, Service, Tunnel, Workload};
use heddle_proto::heddle::v1::{ServiceExtension, WorkloadExtension};
use heddle_proto::istio::workload as wire;
use heddle_proto::type_url;
use prost::Message;

use super::{Change, ip, local, policy_names, port};

pub(super) fn decode(address: wire::Address, trust_domain: &str) -> Result<(String, Change), String> {
    match address.r#type {
        Some(wire::address::Type::Workload(wire)) => workload(wire, trust_domain),
        Some(wire::address::Type::Service(wire)) => service(wire),
        None => Err("it is neither a workload nor a service".to_owned()),
    }
}

fn workload(wire: wire::Workload, trust_domain: &str) -> Result<(String, Change), String> {
    if wire.uid.is_empty() {
        return Err("it has no uid".to_owned());
    }
    let extension = extension(&wire.extensions)?;
    let tunnel = match wire::TunnelProtocol::try_from(wire.tunnel_protocol) {
        Ok(wire::TunnelProtocol::Hbone) => Tunnel::Hbone,
        // A sidecar takes plaintext unless it is STRICT, and then refuses: never a tunnel that it does not speak.
        Ok(wire::TunnelProtocol::None | wire::TunnelProtocol::LegacyIstioMtls) => Tunnel::None,
        Err(_unknown) => return Err(format!("tunnel protocol {} is not known", wire.tunnel_protocol)),
    };
    let healthy = match wire::WorkloadStatus::try_from(wire.status) {
        Ok(status) => status == wire::WorkloadStatus::Healthy,
        Err(_unknown) => return Err(format!("status {} is not known", wire.status)),
    };
    let account = default(&wire.service_account, "default");
    let identity = Identity::new(default(&wire.trust_domain, trust_domain), &wire.namespace, account)
        .map_err(|error| format!("its identity: {error}"))?;
    let (plaintext_ports, policies, labels) = match extension {
        Some(mut ours) => {
            // Ours names no policy for STRICT; clients ask for it before they speak plaintext.
            let strict = wire.authorization_policies.into_iter().filter(|name| is_strict(name));
            ours.authorization_policies.extend(strict);
            (plaintext_ports(&ours)?, ours.authorization_policies, ours.labels)
        }
        None => (Box::default(), wire.authorization_policies, BTreeMap::default()),
    };
    let place = wire.locality.unwrap_or_default();
    let workload_name = default(&wire.workload_name, &wire.name);
    let workload = Workload {
        uid: WorkloadUid::new(wire.uid.as_str()),
        identity,
        addresses: wire.addresses.iter().map(|bytes| ip(bytes)).collect::<Result<_, _>>()?,
        tunnel,
        plaintext_ports,
        node: NodeName::new(wire.node),
        canonical_name: default(&wire.canonical_name, workload_name).into(),
        canonical_revision: default(&wire.canonical_revision, "latest").into(),
        workload_name: workload_name.into(),
        services: endpoint_of(wire.services)?,
        policies: policy_names(policies)?,
        healthy,
        host_network: wire.network_mode == wire::NetworkMode::HostNetwork as i32,
        name: wire.name.into(),
        labels: labels.into_iter().collect(),
        locality: [place.region.into(), place.zone.into(), place.subzone.into()],
        weight: wire.capacity.unwrap_or(1),
    };
    Ok((wire.uid, Change::Workload(Box::new(workload))))
}

fn service(wire: wire::Service) -> Result<(String, Change), String> {
    let key = service_key(format!("{}/{}", wire.namespace, wire.hostname))?;
    let addresses = wire.addresses.iter().map(|entry| ip(&entry.address)).collect::<Result<_, _>>()?;
    let extension = service_extension(&wire.extensions)?;
    let l7 = extension.l7.map(local::l7).transpose()?;
    let service = Service {
        l7,
        unready: wire
            .load_balancing
            .as_ref()
            .is_some_and(|ours| ours.health_policy == wire::load_balancing::HealthPolicy::AllowAll as i32),
        routing: wire.load_balancing.as_ref().and_then(routing),
        export_to: match extension.export_to.is_empty() {
            true => ExportTo::All,
            false => ExportTo::Namespaces(extension.export_to.into_iter().collect()),
        },
        name: wire.name.into(),
        namespace: wire.namespace.into(),
        hostname: wire.hostname.into(),
        addresses,
        ports: ports(&wire.ports)?,
        key: key.clone(),
    };
    Ok((key.as_str().to_owned(), Change::Service(service)))
}

/// What it says of places; scopes that mean nothing here are left out.
fn routing(wire: &wire::LoadBalancing) -> Option<Routing> {
    use wire::load_balancing::{Mode, Scope as Wire};
    let strict = match wire.mode() {
        Mode::Strict => true,
        Mode::Failover => false,
        Mode::UnspecifiedMode | Mode::Passthrough => return None,
    };
    let scopes = wire.routing_preference().filter_map(|scope| match scope {
        Wire::Network => Some(Scope::Network),
        Wire::Region => Some(Scope::Region),
        Wire::Zone => Some(Scope::Zone),
        Wire::Subzone => Some(Scope::Subzone),
        Wire::Node => Some(Scope::Node),
        Wire::UnspecifiedScope | Wire::Cluster => None,
    });
    let scopes: Box<[Scope]> = scopes.collect();
    (!scopes.is_empty()).then_some(Routing { scopes, strict })
}

fn default<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

fn extension(all: &[wire::Extension]) -> Result<Option<WorkloadExtension>, String> {
    unpack(all, type_url::WORKLOAD_EXTENSION, type_url::WORKLOAD_EXTENSION_URL)
}

fn service_extension(all: &[wire::Extension]) -> Result<ServiceExtension, String> {
    Ok(unpack(all, type_url::SERVICE_EXTENSION, type_url::SERVICE_EXTENSION_URL)?.unwrap_or_default())
}

fn unpack<M: Message + Default>(all: &[wire::Extension], name: &str, url: &str) -> Result<Option<M>, String> {
    let Some(ours) = all.iter().find(|each| each.name == name) else { return Ok(None) };
    let any = ours.config.as_ref().filter(|any| any.type_url == url);
    let any = any.ok_or_else(|| format!("extension {name} has no content of its type"))?;
    M::decode(any.value.as_ref()).map(Some).map_err(|error| format!("extension {name}: {error}"))
}

fn plaintext_ports(extension: &WorkloadExtension) -> Result<Box<[u16]>, String> {
    let ports = extension.plaintext_ports.iter().map(|number| port(*number));
    let mut ports = ports.collect::<Result<Vec<_>, _>>()?;
    ports.sort_unstable();
    ports.dedup();
    Ok(ports.into())
}

type Endpoints = Box<[(ServiceKey, Box<[PortMapping]>)]>;

fn endpoint_of(services: BTreeMap<String, wire::PortList>) -> Result<Endpoints, String> {
    let convert = |(key, list): (String, wire::PortList)| Ok((service_key(key)?, ports(&list.ports)?));
    services.into_iter().map(convert).collect()
}

fn service_key(text: String) -> Result<ServiceKey, String> {
    match text.split_once('/') {
        Some((namespace, host)) if !namespace.is_empty() && !host.is_empty() => Ok(ServiceKey::new(text)),
        _ => Err(format!("service '{text}' is not <namespace>/<hostname>")),
    }
}

fn protocol(value: i32) -> Result<Protocol, String> {
    match wire::AppProtocol::try_from(value) {
        Ok(wire::AppProtocol::Unknown) => Ok(Protocol::Unknown),
        Ok(wire::AppProtocol::Http11) => Ok(Protocol::Http),
        Ok(wire::AppProtocol::Http2) => Ok(Protocol::Http2),
        Ok(wire::AppProtocol::Grpc) => Ok(Protocol::Grpc),
        Ok(wire::AppProtocol::Tls) => Ok(Protocol::Tls),
        Ok(wire::AppProtocol::Tcp) => Ok(Protocol::Tcp),
        // A newer istiod may know more; what it is then, its first bytes say.
        Err(_unknown) => Ok(Protocol::Unknown),
    }
}

fn ports(wire: &[wire::Port]) -> Result<Box<[PortMapping]>, String> {
    let convert = |each: &wire::Port| {
        let mapping = PortMapping {
            service_port: port(each.service_port)?,
            target_port: port(each.target_port)?,
            protocol: protocol(each.app_protocol)?,
        };
        if mapping.service_port == 0 { Err("port 0 of a service".to_owned()) } else { Ok(mapping) }
    };
    wire.iter().map(convert).collect()
}
