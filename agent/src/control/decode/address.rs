//! `istio.workload.Address`: workloads and services.

use std::collections::BTreeMap;

use heddle_core::identity::Identity;
use heddle_core::names::{NodeName, ServiceKey, WorkloadUid};
use heddle_core::workload::{PortMapping, Service, Tunnel, Workload};
use heddle_proto::heddle::v1::WorkloadExtension;
use heddle_proto::istio::workload as wire;
use heddle_proto::type_url;
use prost::Message;

use super::{Change, ip, policy_names, port};

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
    let (plaintext_ports, policies) = match extension {
        Some(ours) => (plaintext_ports(&ours)?, ours.authorization_policies),
        None => (Box::default(), wire.authorization_policies),
    };
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
    };
    Ok((wire.uid, Change::Workload(Box::new(workload))))
}

fn service(wire: wire::Service) -> Result<(String, Change), String> {
    let key = service_key(format!("{}/{}", wire.namespace, wire.hostname))?;
    let addresses = wire.addresses.iter().map(|entry| ip(&entry.address)).collect::<Result<_, _>>()?;
    let service = Service {
        name: wire.name.into(),
        namespace: wire.namespace.into(),
        hostname: wire.hostname.into(),
        addresses,
        ports: ports(&wire.ports)?,
        key: key.clone(),
    };
    Ok((key.as_str().to_owned(), Change::Service(service)))
}

fn default<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

fn extension(all: &[wire::Extension]) -> Result<Option<WorkloadExtension>, String> {
    let Some(ours) = all.iter().find(|each| each.name == type_url::WORKLOAD_EXTENSION) else {
        return Ok(None);
    };
    let any = ours.config.as_ref().filter(|any| any.type_url == type_url::WORKLOAD_EXTENSION_URL);
    let any = any.ok_or_else(|| format!("extension {} has no content of its type", ours.name))?;
    let decoded = WorkloadExtension::decode(any.value.as_ref());
    decoded.map(Some).map_err(|error| format!("extension {}: {error}", ours.name))
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

fn ports(wire: &[wire::Port]) -> Result<Box<[PortMapping]>, String> {
    let convert = |each: &wire::Port| {
        let mapping =
            PortMapping { service_port: port(each.service_port)?, target_port: port(each.target_port)? };
        if mapping.service_port == 0 { Err("port 0 of a service".to_owned()) } else { Ok(mapping) }
    };
    wire.iter().map(convert).collect()
}
