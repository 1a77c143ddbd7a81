//! What the index reads of Kubernetes' own kinds.

use std::net::IpAddr;

use heddle_api::normalised::Context;
use heddle_api::object::Object;
use heddle_core::policy::Cidr;
use k8s_openapi::api::core::v1::{Container, Node, Pod, PodStatus, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::index::input::{
    Distribution, Input, NamespaceInput, NodeInput, PodInput, ServiceInput, ServicePort, SliceEndpoint,
    SliceInput, TargetPort,
};
use crate::index::l7;

/// Which endpoints a service, or all of a namespace, prefer.
const DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// Reads an object; `None` for kinds that the index does not know.
pub(super) fn read(object: &Object, context: &Context) -> Result<Option<(Input, String)>, String> {
    let wrong = |error: serde_json::Error| error.to_string();
    let input = match (object.kind.group, object.kind.kind) {
        ("", "Namespace") => Input::Namespace(NamespaceInput {
            labels: object.labels(),
            distribution: object.annotations().get(DISTRIBUTION).and_then(|written| annotated(written)),
        }),
        ("", "ServiceAccount") => Input::ServiceAccount,
        ("", "Node") => Input::Node(node(&object.typed().map_err(wrong)?)?),
        ("networking.k8s.io", "ServiceCIDR") => {
            let cidrs = object.typed::<ServiceCIDR>().map_err(wrong)?.spec.unwrap_or_default().cidrs;
            Input::ServiceCidr(networks("spec.cidrs", cidrs.unwrap_or_default())?)
        }
        ("", "Pod") => Input::Pod(Box::new(pod(object, &object.typed().map_err(wrong)?)?)),
        ("", "Service") => {
            Input::Service(service(object, object.typed::<Service>().map_err(wrong)?, context)?)
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            Input::EndpointSlice(slice(&object.typed().map_err(wrong)?)?)
        }
        _ => return Ok(None),
    };
    Ok(Some((input, String::new())))
}

/// `metadata.creationTimestamp` as microseconds since 1970 in a text that sorts; empty where there is none.
pub(super) fn created(object: &Object) -> String {
    let text = object.value.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
    let at = text.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    at.map(|at| format!("{:020}", at.unix_timestamp_nanos() / 1000)).unwrap_or_default()
}

fn node(node: &Node) -> Result<NodeInput, String> {
    let label = |key: &str| {
        node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned().unwrap_or_default()
    };
    let either =
        |new: &str, old: &str| Some(label(new)).filter(|text| !text.is_empty()).unwrap_or_else(|| label(old));
    let spec = node.spec.clone().unwrap_or_default();
    let mut pod_cidrs = spec.pod_cidrs.unwrap_or_default();
    if pod_cidrs.is_empty() {
        pod_cidrs.extend(spec.pod_cidr);
    }
    Ok(NodeInput {
        region: either("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
        zone: either("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
        subzone: label("topology.istio.io/subzone"),
        pod_cidrs: networks("spec.podCIDRs", pod_cidrs)?,
    })
}

fn networks(path: &str, texts: Vec<String>) -> Result<Vec<String>, String> {
    match texts.iter().find(|text| Cidr::parse(text).is_none()) {
        Some(wrong) => Err(format!("{path}: {wrong:?} is not a network such as 10.244.0.0/16")),
        None => Ok(texts),
    }
}

/// What an annotation says of the endpoints that are preferred; empty is not written.
fn annotated(written: &str) -> Option<Distribution> {
    match written.to_ascii_lowercase().as_str() {
        "" => None,
        "preferclose" | "prefersamezone" => Some(Distribution::SameZone),
        "prefersamenode" => Some(Distribution::SameNode),
        _ => Some(Distribution::Any),
    }
}

fn pod(object: &Object, pod: &Pod) -> Result<PodInput, String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true));
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let account = spec.service_account_name.filter(|name| !name.is_empty());
    Ok(PodInput {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        labels: object.labels(),
        node: spec.node_name.unwrap_or_default(),
        service_account: account.unwrap_or_else(|| "default".to_owned()),
        addresses: pod_addresses(&status)?,
        terminal: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        ready: status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        host_network: spec.host_network.unwrap_or(false),
        ports: containers.flat_map(container_ports).collect(),
        owner: owner.map(|owner| (owner.kind.clone(), owner.name.clone())),
        created: created(object),
    })
}

fn pod_addresses(status: &PodStatus) -> Result<Vec<IpAddr>, String> {
    let mut texts: Vec<&str> = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect();
    if texts.is_empty() {
        texts.extend(status.pod_ip.as_deref());
    }
    let filled = texts.into_iter().filter(|text| !text.is_empty());
    filled.map(|text| address("status.podIPs", text)).collect()
}

fn container_ports(container: &Container) -> impl Iterator<Item = (String, u16)> {
    container.ports.iter().flatten().filter(|port| is_tcp(port.protocol.as_deref())).filter_map(|port| {
        Some((port.name.clone().unwrap_or_default(), u16::try_from(port.container_port).ok()?))
    })
}

fn service(object: &Object, service: Service, context: &Context) -> Result<ServiceInput, String> {
    let spec = service.spec.unwrap_or_default();
    let annotations = object.annotations();
    let export_to = annotations.get("networking.istio.io/exportTo").map(String::as_str).unwrap_or_default();
    let words = export_to.split(',').map(str::trim).filter(|word| !word.is_empty());
    let mut export_to: Vec<String> = words.map(str::to_owned).collect();
    if export_to.is_empty() {
        export_to.clone_from(&context.service_export_to);
    }
    let own = match spec.traffic_distribution.as_deref() {
        Some("PreferSameZone" | "PreferClose") => Some(Distribution::SameZone),
        Some("PreferSameNode") => Some(Distribution::SameNode),
        _ => annotations.get(DISTRIBUTION).and_then(|written| annotated(written)),
    };
    Ok(ServiceInput {
        addresses: cluster_ips(&spec)?,
        ports: spec
            .ports
            .iter()
            .flatten()
            .filter(|port| is_tcp(port.protocol.as_deref()))
            .map(|port| {
                let number = port_number("spec.ports.port", port.port)?;
                let name = port.name.clone().unwrap_or_default();
                let protocol = port.app_protocol.clone();
                Ok(ServicePort {
                    protocol: protocol
                        .unwrap_or_else(|| name.split('-').next().unwrap_or_default().to_owned()),
                    name,
                    port: number,
                    target: match &port.target_port {
                        None => TargetPort::Number(number),
                        Some(IntOrString::Int(0)) => TargetPort::Number(number),
                        Some(IntOrString::Int(target)) => {
                            TargetPort::Number(port_number("spec.ports.targetPort", *target)?)
                        }
                        Some(IntOrString::String(name)) => match name.parse() {
                            Ok(target) => TargetPort::Number(target),
                            Err(_) => TargetPort::Name(name.clone()),
                        },
                    },
                })
            })
            .collect::<Result<_, String>>()?,
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        external_name: spec.type_.as_deref() == Some("ExternalName"),
        selector: spec.selector.unwrap_or_default(),
        l7: l7::of(&object.labels()),
        export_to,
        distribution: own,
        local_only: spec.internal_traffic_policy.as_deref() == Some("Local"),
    })
}

fn cluster_ips(spec: &ServiceSpec) -> Result<Vec<IpAddr>, String> {
    let mut texts: Vec<&str> = spec.cluster_ips.iter().flatten().map(String::as_str).collect();
    if texts.is_empty() {
        texts.extend(spec.cluster_ip.as_deref());
    }
    let filled = texts.into_iter().filter(|text| !text.is_empty() && *text != "None");
    filled.map(|text| address("spec.clusterIPs", text)).collect()
}

fn slice(slice: &EndpointSlice) -> Result<SliceInput, String> {
    let labels = slice.metadata.labels.as_ref();
    let service = labels.and_then(|labels| labels.get("kubernetes.io/service-name")).cloned();
    let ports = slice.ports.iter().flatten().filter(|port| is_tcp(port.protocol.as_deref()));
    let endpoints = if slice.address_type == "FQDN" { &[][..] } else { slice.endpoints.as_slice() };
    Ok(SliceInput {
        service: service.unwrap_or_default(),
        ports: ports
            .filter_map(|port| Some((port.name.clone().unwrap_or_default(), u16::try_from(port.port?).ok()?)))
            .collect(),
        endpoints: endpoints.iter().map(endpoint).collect::<Result<_, String>>()?,
    })
}

fn endpoint(endpoint: &Endpoint) -> Result<SliceEndpoint, String> {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let addresses = endpoint.addresses.iter().map(|text| address("endpoints.addresses", text));
    Ok(SliceEndpoint {
        addresses: addresses.collect::<Result<_, String>>()?,
        ready: conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false),
        node: endpoint.node_name.clone().unwrap_or_default(),
    })
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

fn port_number(path: &str, number: i32) -> Result<u16, String> {
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("{path}: {number} is not a port; write a number from 1 to 65535"))
}

fn address(path: &str, text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|error| format!("{path}: {text:?}: {error}"))
}
