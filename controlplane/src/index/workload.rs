//! The wire form of workloads: of pods, and of endpoints that are no pod of ours.

use std::collections::BTreeMap;
use std::net::IpAddr;

use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use heddle_proto::heddle::v1::{LocalWorkload, MtlsMode as WireMode, WorkloadExtension};
use heddle_proto::istio::workload::{
    Address, Extension, Locality, NetworkMode, PortList, TunnelProtocol, Workload, WorkloadStatus, address,
};
use heddle_proto::type_url;
use prost::Message;

use super::input::{Key, PodInput, ServiceInput, SliceEndpoint, SliceInput};
use super::peer_authentication::Effective;
use super::world::World;
use super::{Settings, denial, entry, l7, naming, service, strict};

/// What is known of a pod before it is put on the wire.
pub(super) struct View<'a> {
    pub(super) key: &'a Key,
    pub(super) pod: &'a PodInput,
    /// Its traffic is captured, or about to be.
    pub(super) captured: bool,
    /// Others tunnel to it.
    pub(super) tunnelled: bool,
    pub(super) mtls: Effective<'a>,
}

/// WDS name of a pod's workload.
pub(super) fn resource_name(key: &Key, settings: &Settings) -> String {
    format!("{}//Pod/{}/{}", settings.cluster_id, key.namespace, key.name)
}

/// The workload of a pod; none while it has no address.
pub(super) fn resource(world: &World, settings: &Settings, view: &View<'_>) -> Option<Address> {
    let (key, pod) = (view.key, view.pod);
    let held = |address: &&IpAddr| pod.host_network || world.holder(**address) == Some(key);
    let addresses: Vec<IpAddr> = pod.addresses.iter().filter(held).copied().collect();
    if addresses.is_empty() {
        return None;
    }
    let naming = naming::of(&key.name, pod);
    let services = services(world, settings, view, &addresses);
    let plaintext = plaintext_ports(pod, &services, &view.mtls.policy);
    let tunnel =
        if view.tunnelled && plaintext.is_some() { TunnelProtocol::Hbone } else { TunnelProtocol::None };
    let denials = world.policies(key, pod);
    let extension = WorkloadExtension {
        plaintext_ports: if tunnel == TunnelProtocol::Hbone { plaintext.unwrap_or_default() } else { vec![] },
        pod_uid: pod.uid.clone(),
        authorization_policies: denials.iter().map(|(key, _)| denial::policy_name(key)).collect(),
        labels: pod.labels.clone(),
    };
    let selecting = denials.iter().filter(|(_, denial)| denial::by_selector(denial));
    // While others do not tunnel to it yet (or any more), it takes both.
    let strict = strict::name(&key.namespace, &view.mtls).filter(|_| view.tunnelled);
    let healthy = pod.ready && !pod.terminating;
    let workload = Workload {
        uid: resource_name(key, settings),
        name: key.name.to_string(),
        namespace: key.namespace.to_string(),
        addresses: addresses.into_iter().map(service::octets).collect(),
        tunnel_protocol: tunnel.into(),
        trust_domain: settings.trust_domain.clone(),
        service_account: if pod.host_network { String::new() } else { pod.service_account.clone() },
        node: pod.node.clone(),
        canonical_name: naming.canonical_name,
        canonical_revision: naming.canonical_revision,
        workload_type: naming.kind.into(),
        workload_name: naming.workload,
        services,
        authorization_policies: selecting.map(|(key, _)| denial::policy_name(key)).chain(strict).collect(),
        status: if healthy { WorkloadStatus::Healthy } else { WorkloadStatus::Unhealthy }.into(),
        cluster_id: settings.cluster_id.clone(),
        locality: locality(world, pod),
        network_mode: if pod.host_network { NetworkMode::HostNetwork } else { NetworkMode::Standard }.into(),
        extensions: vec![pack(&extension)],
        ..Workload::default()
    };
    Some(Address { r#type: Some(address::Type::Workload(workload)) })
}

/// What the pod's own node does with it; none for a pod that has no identity, has ended, or is not bound.
pub(super) fn local(world: &World, settings: &Settings, view: &View<'_>) -> Option<LocalWorkload> {
    let (key, pod) = (view.key, view.pod);
    if pod.host_network || pod.terminal || pod.node.is_empty() || pod.uid.is_empty() {
        return None;
    }
    // A pod that is captured and not tunnelled to yet (or any more) takes both, or it would be cut off.
    let held = view.captured && !view.tunnelled;
    let wire = |mode: MtlsMode| match mode {
        MtlsMode::Disable => WireMode::Disable,
        MtlsMode::Permissive => WireMode::Permissive,
        MtlsMode::Strict if held => WireMode::Permissive,
        MtlsMode::Strict => WireMode::Strict,
    };
    let exceptions = view.mtls.policy.exceptions().iter();
    let denials = world.policies(key, pod);
    Some(LocalWorkload {
        pod_uid: pod.uid.clone(),
        workload_uid: resource_name(key, settings),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        service_account: pod.service_account.clone(),
        trust_domain: settings.trust_domain.clone(),
        enrolled: view.captured,
        mtls_mode: wire(view.mtls.policy.default_mode()).into(),
        port_mtls_modes: exceptions.map(|(port, mode)| (u32::from(*port), wire(*mode).into())).collect(),
        authorization_policies: denials.iter().map(|(key, _)| denial::policy_name(key)).collect(),
        labels: pod.labels.clone(),
        l7: l7::wire(world.pod_l7(key, pod)).into(),
    })
}

/// Name and workload of a slice's endpoint that is no pod of ours: it is outside the mesh.
pub(super) fn outsider(
    settings: &Settings,
    key: &Key,
    (service, slice): (&ServiceInput, &SliceInput),
    endpoint: &SliceEndpoint,
) -> Option<(String, Address)> {
    let first = endpoint.addresses.first()?;
    let uid = format!(
        "{}/discovery.k8s.io/EndpointSlice/{}/{}/{first}",
        settings.cluster_id, key.namespace, key.name
    );
    let owner = Key::new(super::input::InputKind::Service, &key.namespace, &slice.service);
    let ports = service::ports_at_slice(service, slice);
    let workload = Workload {
        uid: uid.clone(),
        name: key.name.to_string(),
        namespace: key.namespace.to_string(),
        addresses: endpoint.addresses.iter().copied().map(service::octets).collect(),
        node: endpoint.node.clone(),
        canonical_name: slice.service.clone(),
        canonical_revision: "latest".to_owned(),
        workload_type: heddle_proto::istio::workload::WorkloadType::Pod.into(),
        workload_name: key.name.to_string(),
        services: BTreeMap::from([(service::resource_name(&owner, &settings.cluster_domain), ports)]),
        status: if endpoint.ready { WorkloadStatus::Healthy } else { WorkloadStatus::Unhealthy }.into(),
        cluster_id: settings.cluster_id.clone(),
        ..Workload::default()
    };
    Some((uid, Address { r#type: Some(address::Type::Workload(workload)) }))
}

fn services(
    world: &World,
    settings: &Settings,
    view: &View<'_>,
    addresses: &[IpAddr],
) -> BTreeMap<String, PortList> {
    let mut services = BTreeMap::new();
    for (key, service) in world.services_for(&view.key.namespace, &view.pod.labels) {
        let ports = service::ports_at_pod(service, view.pod);
        services.insert(service::resource_name(key, &settings.cluster_domain), ports);
    }
    let own = addresses.iter().filter(|_| !view.pod.host_network);
    for (key, slice, service) in own.flat_map(|address| world.slices_for(*address)) {
        let ready = slice.endpoints.iter().any(|endpoint| {
            endpoint.ready && endpoint.addresses.iter().any(|address| addresses.contains(address))
        });
        if ready {
            let owner = Key::new(super::input::InputKind::Service, &key.namespace, &slice.service);
            let ports = service::ports_at_slice(service, slice);
            services.insert(service::resource_name(&owner, &settings.cluster_domain), ports);
        }
    }
    // A Service of the same name counts.
    for (name, ports) in entry::services_of_pod(world, (view.key, view.pod), addresses) {
        services.entry(name).or_insert(ports);
    }
    services
}

/// Ports that are reached in clear although the pod is in the mesh; `None` where all of them are.
/// Under a default of DISABLE with exceptions, the ports in clear are those that somebody declared.
fn plaintext_ports(
    pod: &PodInput,
    services: &BTreeMap<String, PortList>,
    mtls: &MtlsPolicy,
) -> Option<Vec<u32>> {
    let exceptions = mtls.exceptions();
    let mut ports: Vec<u32> = if mtls.default_mode() == MtlsMode::Disable {
        if exceptions.is_empty() {
            return None;
        }
        let declared = pod.ports.iter().map(|(_, port)| u32::from(*port));
        let targets = services.values().flat_map(|list| &list.ports).map(|port| port.target_port);
        let open = |port: &u32| u16::try_from(*port).is_ok_and(|port| mtls.mode(port) == MtlsMode::Disable);
        declared.chain(targets).filter(open).collect()
    } else {
        let disabled = exceptions.iter().filter(|(_, mode)| *mode == MtlsMode::Disable);
        disabled.map(|(port, _)| u32::from(*port)).collect()
    };
    ports.sort_unstable();
    ports.dedup();
    Some(ports)
}

/// The pod's own label, with dots for slashes, else its node's.
fn locality(world: &World, pod: &PodInput) -> Option<Locality> {
    if let Some(written) = pod.labels.get("istio-locality").filter(|written| !written.is_empty()) {
        let apart = if written.contains('/') { '/' } else { '.' };
        let mut parts = written.splitn(3, apart).map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        return Some(Locality { region: part(), zone: part(), subzone: part() });
    }
    let node = world.node(&pod.node)?;
    let place =
        Locality { region: node.region.clone(), zone: node.zone.clone(), subzone: node.subzone.clone() };
    (place != Locality::default()).then_some(place)
}

/// Ours among a workload's extensions.
pub(super) fn pack(extension: &WorkloadExtension) -> Extension {
    let config = prost_types::Any {
        type_url: type_url::WORKLOAD_EXTENSION_URL.to_owned(),
        value: extension.encode_to_vec(),
    };
    Extension { name: type_url::WORKLOAD_EXTENSION.to_owned(), config: Some(config) }
}
