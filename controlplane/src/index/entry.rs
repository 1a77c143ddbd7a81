//! ServiceEntries and WorkloadEntries on the wire: as objects for our agents, and as Istio's services and workloads.
//!
//! Virtual addresses are announced as services, and the endpoints of STATIC entries as workloads: where the others are only the
//! agents know, from the object.

use std::collections::BTreeMap;
use std::net::IpAddr;

use heddle_core::object::{ExportTo, Labels, TrafficObject};
use heddle_core::policy::Cidr;
use heddle_core::upstream::model::{EntryEndpoint, EntryPort, Protocol, Resolution, ServiceEntry};
use heddle_core::workload::L7Mode;
use heddle_proto::heddle::v1::WorkloadExtension;
use heddle_proto::istio::workload::{
    Address, AppProtocol, Locality, Port, PortList, Service, TunnelProtocol, Workload, WorkloadStatus,
    WorkloadType, address,
};

use super::input::{EntryInput, Key, PodInput, WorkloadEntryInput};
use super::table::Resource;
use super::world::World;
use super::{Settings, naming, policy, service, workload};

/// A workload with this label takes tunnels though it is no pod of ours, as Istio has it.
const TUNNEL: (&str, &str) = ("networking.istio.io/tunnel", "http");

/// The object with the endpoints of the WorkloadEntries that it selects.
pub(super) fn object(world: &World, key: &Key, input: &EntryInput) -> (String, Resource) {
    let selected = world.entries_selected(key, input).map(|(_, selected)| endpoint(selected));
    let mut entry = input.entry.clone();
    entry.endpoints.extend(selected);
    policy::traffic(&TrafficObject::ServiceEntry(entry))
}

/// Services and workloads that it announces, by name.
pub(super) fn addresses(
    world: &World,
    settings: &Settings,
    key: &Key,
    input: &EntryInput,
) -> Vec<(String, Resource)> {
    let entry = &input.entry;
    let virtual_addresses = virtual_addresses(entry);
    let l7 = world.namespace_l7(&key.namespace);
    let mut found = Vec::new();
    for host in entry.hosts.iter().filter(|host| !virtual_addresses.is_empty() && !host.starts_with('*')) {
        let service = announced(key, entry, host, &virtual_addresses, l7);
        let name = service_name(&key.namespace, host);
        found.push((name, Resource::of(&Address { r#type: Some(address::Type::Service(service)) })));
    }
    // Where the others are only the agents know, by name or as dialled.
    let fixed = entry.resolution == Resolution::Static;
    for endpoint in entry.endpoints.iter().filter(|_| fixed) {
        // What a pod of ours has is reached as that pod, with its identity.
        let address = endpoint.address.parse().ok();
        let Some(address) = address.filter(|address| world.holder(*address).is_none()) else { continue };
        let uid = format!(
            "{}/networking.istio.io/ServiceEntry/{}/{}/{address}",
            settings.cluster_id, key.namespace, key.name
        );
        let outside = Outside {
            uid,
            address,
            labels: &endpoint.labels,
            locality: &endpoint.locality,
            weight: endpoint.weight,
            service_account: "",
            services: services_at(key, entry, Some(endpoint)).collect(),
        };
        found.push(outside.resource(settings, key));
    }
    found
}

/// The workload of a WorkloadEntry; none without an address, or with that of a pod.
pub(super) fn workload_entry(
    world: &World,
    settings: &Settings,
    key: &Key,
    input: &WorkloadEntryInput,
) -> Option<(String, Resource)> {
    let address: IpAddr = input.address.parse().ok()?;
    if world.holder(address).is_some() {
        return None;
    }
    let as_pod = PodInput { ports: input.ports.clone().into_iter().collect(), ..PodInput::default() };
    let mut services = BTreeMap::new();
    for (owner, service) in world.services_for(&key.namespace, &input.labels) {
        let name = service::resource_name(owner, &settings.cluster_domain);
        services.insert(name, service::ports_at_pod(service, &as_pod));
    }
    let endpoint = endpoint(input);
    for (owner, entry) in world.entries_selecting(&key.namespace, &input.labels) {
        for (name, ports) in services_at(owner, &entry.entry, Some(&endpoint)) {
            services.entry(name).or_insert(ports);
        }
    }
    let outside = Outside {
        uid: format!(
            "{}/networking.istio.io/WorkloadEntry/{}/{}",
            settings.cluster_id, key.namespace, key.name
        ),
        address,
        labels: &input.labels,
        locality: &input.locality,
        weight: input.weight,
        service_account: &input.service_account,
        services,
    };
    Some(outside.resource(settings, key))
}

/// The services of ServiceEntries that a pod is an endpoint of: it is selected, or its address is written down.
pub(super) fn services_of_pod(
    world: &World,
    (key, pod): (&Key, &PodInput),
    addresses: &[IpAddr],
) -> Vec<(String, PortList)> {
    let mut found = Vec::new();
    for (owner, entry) in world.entries_selecting(&key.namespace, &pod.labels) {
        found.extend(services_at(owner, &entry.entry, None));
    }
    for address in addresses.iter().filter(|_| !pod.host_network) {
        for (owner, entry, endpoint) in world.entries_naming(*address) {
            found.extend(services_at(owner, &entry.entry, Some(&endpoint)));
        }
    }
    found
}

/// As an endpoint of the ServiceEntries that select it.
pub(super) fn endpoint(input: &WorkloadEntryInput) -> EntryEndpoint {
    EntryEndpoint {
        address: input.address.clone(),
        ports: input.ports.clone(),
        labels: input.labels.clone(),
        locality: input.locality.clone(),
        weight: input.weight,
    }
}

fn services_at<'a>(
    key: &'a Key,
    entry: &'a ServiceEntry,
    endpoint: Option<&'a EntryEndpoint>,
) -> impl Iterator<Item = (String, PortList)> + 'a {
    let target = move |port: &EntryPort| {
        let own = endpoint.and_then(|endpoint| endpoint.ports.get(&port.name)).copied();
        own.or(port.target).unwrap_or(port.number)
    };
    let hosts = entry.hosts.iter().filter(|host| !host.starts_with('*'));
    hosts.map(move |host| {
        let ports = entry.ports.iter().map(|port| mapping(port, target(port))).collect();
        (service_name(&key.namespace, host), PortList { ports })
    })
}

fn announced(
    key: &Key,
    entry: &ServiceEntry,
    host: &str,
    addresses: &[IpAddr],
    l7: Option<L7Mode>,
) -> Service {
    let export_to = match &entry.export_to {
        ExportTo::All => Vec::new(),
        ExportTo::Namespaces(names) if names.is_empty() => vec!["~".to_owned()],
        ExportTo::Namespaces(names) => names.iter().cloned().collect(),
    };
    Service {
        name: key.name.to_string(),
        namespace: key.namespace.to_string(),
        hostname: host.to_owned(),
        addresses: addresses.iter().map(|address| service::network_address(*address)).collect(),
        ports: entry.ports.iter().map(|port| mapping(port, port.target.unwrap_or(port.number))).collect(),
        subject_alt_names: entry.subject_alt_names.clone(),
        ip_families: service::families(addresses).into(),
        extensions: service::extension(l7, export_to).into_iter().collect(),
        ..Service::default()
    }
}

/// Single addresses; a network is for agents to match.
fn virtual_addresses(entry: &ServiceEntry) -> Vec<IpAddr> {
    let networks = entry.addresses.iter().filter_map(|text| Cidr::parse(text));
    networks
        .filter(|cidr| cidr.length() == if cidr.address().is_ipv4() { 32 } else { 128 })
        .map(|cidr| cidr.address())
        .collect()
}

fn service_name(namespace: &str, host: &str) -> String {
    format!("{namespace}/{host}")
}

fn mapping(port: &EntryPort, target: u16) -> Port {
    let protocol = match port.protocol {
        Protocol::Unknown => AppProtocol::Unknown,
        Protocol::Http => AppProtocol::Http11,
        Protocol::Http2 => AppProtocol::Http2,
        Protocol::Grpc => AppProtocol::Grpc,
        Protocol::Tls => AppProtocol::Tls,
        Protocol::Tcp => AppProtocol::Tcp,
    };
    Port { service_port: port.number.into(), target_port: target.into(), app_protocol: protocol.into() }
}

/// A workload that is no pod of ours.
struct Outside<'a> {
    uid: String,
    address: IpAddr,
    labels: &'a Labels,
    locality: &'a str,
    weight: u32,
    service_account: &'a str,
    services: BTreeMap<String, PortList>,
}

impl Outside<'_> {
    fn resource(self, settings: &Settings, key: &Key) -> (String, Resource) {
        let named = PodInput { labels: self.labels.clone(), ..PodInput::default() };
        let naming = naming::of(&key.name, &named);
        let tunnelled = self.labels.get(TUNNEL.0).is_some_and(|value| value == TUNNEL.1);
        let extension = WorkloadExtension { labels: self.labels.clone(), ..WorkloadExtension::default() };
        let mut place = self.locality.splitn(3, '/').map(str::to_owned);
        let mut part = || place.next().unwrap_or_default();
        let locality = Locality { region: part(), zone: part(), subzone: part() };
        let workload = Workload {
            uid: self.uid.clone(),
            name: key.name.to_string(),
            namespace: key.namespace.to_string(),
            addresses: vec![service::octets(self.address)],
            tunnel_protocol: if tunnelled { TunnelProtocol::Hbone } else { TunnelProtocol::None }.into(),
            trust_domain: settings.trust_domain.clone(),
            service_account: self.service_account.to_owned(),
            canonical_name: naming.canonical_name,
            canonical_revision: naming.canonical_revision,
            workload_type: WorkloadType::Pod.into(),
            workload_name: naming.workload,
            services: self.services,
            status: WorkloadStatus::Healthy.into(),
            cluster_id: settings.cluster_id.clone(),
            locality: (!self.locality.is_empty()).then_some(locality),
            extensions: vec![workload::pack(&extension)],
            capacity: (self.weight > 1).then_some(self.weight),
            ..Workload::default()
        };
        (self.uid, Resource::of(&Address { r#type: Some(address::Type::Workload(workload)) }))
    }
}
