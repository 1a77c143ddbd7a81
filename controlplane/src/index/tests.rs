//! The index: table tests, and equality with an index built from scratch.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;
use std::time::Instant;

use heddle_core::mtls::MtlsMode;
use heddle_core::workload::L7Mode;
use heddle_proto::heddle::v1::{
    L7Mode as WireL7, LocalWorkload, MtlsMode as WireMode, ServiceExtension, WorkloadExtension,
};
use heddle_proto::istio::security::{Action, Authorization};
use heddle_proto::istio::workload::address::Type;
use heddle_proto::istio::workload::{Address, NetworkMode, TunnelProtocol, Workload, WorkloadStatus};
use prost::Message;

use super::input::*;
use super::*;

mod l7;
mod mesh;
mod property;
mod strict;
mod traffic;

fn settings() -> Settings {
    Settings {
        trust_domain: "cluster.local".into(),
        cluster_domain: "cluster.local".into(),
        cluster_id: "Kubernetes".into(),
        pod_cidrs: vec!["10.244.0.0/16".into()],
        service_cidrs: vec!["10.96.0.0/16".into()],
        trust_bundle: vec!["root".into()],
    }
}

fn labels(text: &str) -> Labels {
    let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn namespace(name: &str, text: &str) -> Change {
    Change::Put(Key::new(InputKind::Namespace, "", name), Input::Namespace(labels(text).into()))
}

fn pod_input(name: &str, text: &str, address: &str) -> PodInput {
    PodInput {
        uid: format!("uid-{name}"),
        labels: labels(text),
        node: "node-1".into(),
        service_account: "sa".into(),
        addresses: vec![ip(address)],
        ready: true,
        ports: vec![("http".into(), 8080), (String::new(), 9090)],
        created: "1".into(),
        ..PodInput::default()
    }
}

fn put_pod(name: &str, pod: PodInput) -> Change {
    Change::Put(Key::new(InputKind::Pod, "ns", name), Input::Pod(Box::new(pod)))
}

fn pod(name: &str, text: &str, address: &str) -> Change {
    put_pod(name, pod_input(name, text, address))
}

fn service(name: &str, selector: &str, target: TargetPort) -> Change {
    let port = ServicePort { name: "http".into(), port: 80, target, protocol: "http".into() };
    let service = ServiceInput {
        selector: labels(selector),
        addresses: vec![ip("10.96.0.10")],
        ports: vec![port],
        ..ServiceInput::default()
    };
    Change::Put(Key::new(InputKind::Service, "ns", name), Input::Service(service))
}

fn mtls(
    namespace: &str,
    name: &str,
    selector: &str,
    mode: MtlsMode,
    port: Option<(u16, MtlsMode)>,
) -> Change {
    let policy = PeerAuthenticationInput {
        selector: labels(selector),
        mode: Some(mode),
        ports: port.into_iter().map(|(port, mode)| (port, Some(mode))).collect(),
        created: "1".into(),
    };
    Change::Put(Key::new(InputKind::PeerAuthentication, namespace, name), Input::PeerAuthentication(policy))
}

fn denial(kind: InputKind, namespace: &str, name: &str, selector: &str) -> Change {
    let denial = Selection { selector: labels(selector), services: None };
    Change::Put(Key::new(kind, namespace, name), Input::Denial(denial))
}

fn built(changes: impl IntoIterator<Item = Change>) -> Index {
    let mut index = Index::new(settings());
    index.apply(changes);
    index
}

fn workload(index: &Index, name: &str) -> Option<Workload> {
    let resource = index.output().addresses().get(&format!("Kubernetes//Pod/ns/{name}"))?;
    match Address::decode(resource.encoded.clone()).unwrap().r#type {
        Some(Type::Workload(workload)) => Some(workload),
        _ => None,
    }
}

fn local(index: &Index, name: &str) -> Option<LocalWorkload> {
    let resource = index.output().locals("node-1")?.get(&format!("uid-{name}"))?;
    Some(LocalWorkload::decode(resource.encoded.clone()).unwrap())
}

fn extension(workload: &Workload) -> WorkloadExtension {
    WorkloadExtension::decode(workload.extensions[0].config.as_ref().unwrap().value.as_ref()).unwrap()
}

const MESH: &str = "istio-injection=enabled";

#[test]
fn a_pod_of_an_enrolled_namespace_is_captured_and_tunnelled_to() {
    let index = built([namespace("ns", MESH), pod("a", "app=a", "10.244.1.2")]);
    let (workload, local) = (workload(&index, "a").unwrap(), local(&index, "a").unwrap());
    assert_eq!(workload.tunnel_protocol, TunnelProtocol::Hbone as i32);
    assert_eq!((workload.service_account.as_str(), workload.node.as_str()), ("sa", "node-1"));
    assert_eq!(workload.addresses, [[10, 244, 1, 2]]);
    assert!(local.enrolled);
    assert_eq!(local.mtls_mode, WireMode::Permissive as i32);
    assert_eq!(extension(&workload).pod_uid, "uid-a");
}

#[test]
fn a_pod_outside_the_mesh_is_known_and_not_captured() {
    let index = built([namespace("ns", ""), pod("a", "app=a", "10.244.1.2")]);
    assert_eq!(workload(&index, "a").unwrap().tunnel_protocol, TunnelProtocol::None as i32);
    assert!(!local(&index, "a").unwrap().enrolled);
}

#[test]
fn a_pod_without_an_address_is_already_captured_by_its_node() {
    let pod = PodInput { addresses: vec![], ..pod_input("a", "", "10.244.1.2") };
    let index = built([namespace("ns", MESH), put_pod("a", pod)]);
    assert!(workload(&index, "a").is_none());
    assert!(local(&index, "a").unwrap().enrolled);
}

#[test]
fn a_terminal_pod_owns_nothing() {
    let pod = PodInput { terminal: true, ..pod_input("a", "app=a", "10.244.1.2") };
    let index = built([namespace("ns", MESH), put_pod("a", pod), self::pod("b", "app=a", "10.244.1.2")]);
    assert!(workload(&index, "a").is_none() && local(&index, "a").is_none());
    assert_eq!(workload(&index, "b").unwrap().addresses.len(), 1);
}

#[test]
fn a_pod_with_host_network_has_no_identity() {
    let pod = PodInput { host_network: true, ..pod_input("a", "app=a", "172.30.0.11") };
    let index =
        built([namespace("ns", MESH), put_pod("a", pod), service("s", "app=a", TargetPort::Number(80))]);
    let workload = workload(&index, "a").unwrap();
    assert_eq!(workload.network_mode, NetworkMode::HostNetwork as i32);
    assert_eq!(workload.tunnel_protocol, TunnelProtocol::None as i32);
    assert!(workload.service_account.is_empty());
    assert_eq!(workload.services.len(), 1, "it is an endpoint all the same");
    assert!(local(&index, "a").is_none());
}

#[test]
fn only_ready_pods_that_stay_are_healthy() {
    for (ready, terminating, want) in
        [(true, false, true), (false, false, false), (true, true, false), (false, true, false)]
    {
        let pod = PodInput { ready, terminating, ..pod_input("a", "", "10.244.1.2") };
        let index = built([put_pod("a", pod)]);
        let want = if want { WorkloadStatus::Healthy } else { WorkloadStatus::Unhealthy };
        assert_eq!(workload(&index, "a").unwrap().status, want as i32, "{ready} {terminating}");
    }
}

#[test]
fn a_target_port_is_a_number_or_the_name_of_a_containers_port() {
    let rows = [
        (TargetPort::Number(8081), Some(8081)),
        (TargetPort::Name("http".into()), Some(8080)),
        (TargetPort::Name("nobody".into()), None),
    ];
    for (target, want) in rows {
        let index = built([service("s", "app=a", target.clone()), pod("a", "app=a", "10.244.1.2")]);
        let services = workload(&index, "a").unwrap().services;
        let ports = &services["ns/s.ns.svc.cluster.local"].ports;
        assert_eq!(ports.first().map(|port| port.target_port), want, "{target:?}");
        assert!(ports.iter().all(|port| port.service_port == 80));
    }
}

#[test]
fn a_headless_service_has_endpoints_and_no_address() {
    let Change::Put(key, Input::Service(mut input)) = service("s", "app=a", TargetPort::Number(80)) else {
        unreachable!()
    };
    input.addresses.clear();
    let index = built([Change::Put(key, Input::Service(input)), pod("a", "app=a", "10.244.1.2")]);
    let resource = index.output().addresses().get("ns/s.ns.svc.cluster.local").unwrap();
    let Some(Type::Service(service)) = Address::decode(resource.encoded.clone()).unwrap().r#type else {
        unreachable!()
    };
    assert!(service.addresses.is_empty());
    assert_eq!(workload(&index, "a").unwrap().services.len(), 1);
}

fn slice(service: &str, addresses: &[&str]) -> Change {
    let endpoint =
        |address: &&str| SliceEndpoint { addresses: vec![ip(address)], ready: true, node: String::new() };
    let slice = SliceInput {
        service: service.into(),
        ports: vec![("http".into(), 8888)],
        endpoints: addresses.iter().map(endpoint).collect(),
    };
    Change::Put(Key::new(InputKind::EndpointSlice, "ns", "slice"), Input::EndpointSlice(slice))
}

#[test]
fn a_service_without_a_selector_takes_its_endpoints_from_slices() {
    let mut index = built([
        namespace("ns", MESH),
        service("s", "", TargetPort::Number(80)),
        slice("s", &["10.244.1.2", "192.0.2.7"]),
        pod("a", "app=a", "10.244.1.2"),
    ]);
    let held = workload(&index, "a").unwrap();
    assert_eq!(held.services["ns/s.ns.svc.cluster.local"].ports[0].target_port, 8888);
    assert_eq!(held.tunnel_protocol, TunnelProtocol::Hbone as i32, "a pod stays what it is");
    let outsider = "Kubernetes/discovery.k8s.io/EndpointSlice/ns/slice/192.0.2.7";
    assert!(index.output().addresses().get(outsider).is_some());
    let shadow = "Kubernetes/discovery.k8s.io/EndpointSlice/ns/slice/10.244.1.2";
    assert!(index.output().addresses().get(shadow).is_none(), "no second workload with a pod's address");
    // With a selector the slice no longer counts.
    index.apply([service("s", "app=b", TargetPort::Number(80))]);
    assert!(workload(&index, "a").unwrap().services.is_empty());
    assert!(index.output().addresses().get(outsider).is_none());
}

#[test]
fn of_two_pods_with_one_address_the_newer_has_it() {
    let old = PodInput { created: "1".into(), terminating: true, ..pod_input("old", "", "10.244.1.2") };
    let new = PodInput { created: "2".into(), ..pod_input("new", "", "10.244.1.2") };
    let mut index = built([put_pod("old", old), put_pod("new", new)]);
    assert!(workload(&index, "old").is_none());
    assert!(workload(&index, "new").is_some());
    index.apply([Change::Remove(Key::new(InputKind::Pod, "ns", "new"))]);
    assert!(workload(&index, "old").is_some(), "it is given back");
}

#[test]
fn disable_is_no_tunnel_or_ports_without_one() {
    let base = [namespace("ns", MESH), pod("a", "app=a", "10.244.1.2")];
    let rows = [
        (mtls("ns", "p", "", MtlsMode::Disable, None), TunnelProtocol::None, vec![]),
        (mtls("ns", "p", "", MtlsMode::Strict, None), TunnelProtocol::Hbone, vec![]),
        (
            mtls("ns", "p", "app=a", MtlsMode::Strict, Some((8080, MtlsMode::Disable))),
            TunnelProtocol::Hbone,
            vec![8080],
        ),
        (
            mtls("ns", "p", "app=a", MtlsMode::Disable, Some((8080, MtlsMode::Strict))),
            TunnelProtocol::Hbone,
            vec![9090],
        ),
    ];
    for (policy, tunnel, ports) in rows {
        let index = built(base.iter().cloned().chain([policy.clone()]));
        let workload = workload(&index, "a").unwrap();
        assert_eq!(workload.tunnel_protocol, tunnel as i32, "{policy:?}");
        assert_eq!(extension(&workload).plaintext_ports, ports, "{policy:?}");
    }
}

#[test]
fn what_is_not_served_denies_what_it_selects() {
    let kind = InputKind::AuthorizationPolicy;
    let rows = [
        (denial(kind, "ns", "p", ""), vec!["ns/p"]),
        (denial(kind, "ns", "p", "app=a"), vec!["ns/p"]),
        (denial(kind, "ns", "p", "app=b"), vec![]),
        (denial(kind, "other", "p", ""), vec![]),
        (denial(kind, "istio-system", "p", ""), vec!["istio-system/p"]),
        (denial(kind, "istio-system", "p", "app=a"), vec!["istio-system/p"]),
        (denial(InputKind::RequestAuthentication, "ns", "p", ""), vec!["ns/requestauthentication.p"]),
    ];
    for (change, want) in rows {
        let index = built([namespace("ns", MESH), pod("a", "app=a", "10.244.1.2"), change.clone()]);
        assert_eq!(local(&index, "a").unwrap().authorization_policies, want, "{change:?}");
        for name in want {
            let resource = index.output().authorizations().get(name).unwrap();
            let policy = Authorization::decode(resource.encoded.clone()).unwrap();
            assert_eq!((policy.action, policy.rules.len()), (Action::Deny as i32, 1));
            assert!(policy.rules[0].clauses.is_empty());
        }
    }
}

#[test]
fn a_label_moves_a_living_pod_and_holding_it_keeps_the_tunnel_away() {
    let mut index = built([
        namespace("ns", ""),
        pod("a", "app=a", "10.244.1.2"),
        mtls("ns", "p", "", MtlsMode::Strict, None),
    ]);
    let moved = index.apply([namespace("ns", MESH)]);
    assert_eq!(moved.len(), 1);
    assert!(moved[0].enrolled && &*moved[0].uid == "uid-a" && moved[0].pod == "ns/a");
    index.hold("uid-a", true);
    assert_eq!(workload(&index, "a").unwrap().tunnel_protocol, TunnelProtocol::None as i32);
    let held = local(&index, "a").unwrap();
    assert!(held.enrolled);
    assert_eq!(held.mtls_mode, WireMode::Permissive as i32, "nobody is cut off meanwhile");
    index.hold("uid-a", false);
    assert_eq!(workload(&index, "a").unwrap().tunnel_protocol, TunnelProtocol::Hbone as i32);
    assert_eq!(local(&index, "a").unwrap().mtls_mode, WireMode::Strict as i32);
    let moved = index.apply([namespace("ns", "")]);
    assert!(!moved[0].enrolled);
}

#[test]
fn a_new_pod_and_a_new_incarnation_do_not_move() {
    let mut index = built([namespace("ns", MESH)]);
    assert!(index.apply([pod("a", "", "10.244.1.2")]).is_empty());
    let again = PodInput {
        uid: "uid-a2".into(),
        labels: labels("heddle.dev/mesh=disabled"),
        ..pod_input("a", "", "10.244.1.3")
    };
    assert!(index.apply([put_pod("a", again)]).is_empty());
    assert!(index.output().pod("uid-a").is_none() && local(&index, "a").is_none());
}

#[test]
fn one_edit_changes_one_resource() {
    let mut index = built((0..50_u8).map(|n| pod(&format!("p{n}"), "app=a", &format!("10.244.1.{n}"))));
    let before = index.output().addresses().clone();
    index.apply([pod("p7", "app=a version=2", "10.244.1.7")]);
    let after = index.output().addresses();
    let changed = after.iter().filter(|(name, resource)| before.get(name) != Some(resource)).count();
    assert_eq!((changed, after.changes() - before.changes()), (1, 1));
}

/// Prints how long 10,000 pods take; the bound is far above what is seen even without optimisation.
#[test]
fn ten_thousand_pods_are_indexed_and_one_change_is_cheap() {
    let mut index = built([namespace("ns", MESH)]);
    let services = (0..100).map(|n| service(&format!("s{n}"), &format!("app=a{n}"), TargetPort::Number(80)));
    let pods = (0..10_000_u32).map(|n| {
        let address = std::net::Ipv4Addr::from(0x0af4_0000 + n).to_string();
        pod(&format!("p{n}"), &format!("app=a{}", n % 100), &address)
    });
    let begun = Instant::now();
    index.apply(services.chain(pods));
    let all = begun.elapsed();
    let begun = Instant::now();
    index.apply([pod("p7", "app=a7 version=2", "10.244.0.7")]);
    let one = begun.elapsed();
    let begun = Instant::now();
    index.apply([mtls("istio-system", "m", "", MtlsMode::Strict, None)]);
    let mesh = begun.elapsed();
    println!("10,000 pods: {all:?}; one pod: {one:?}; a mesh-wide policy: {mesh:?}");
    assert_eq!(index.output().addresses().len(), 10_100);
    assert!(one.as_millis() < 100, "{one:?}");
}
