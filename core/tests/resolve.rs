//! Where a dialled address leads: a table, and what must never happen whatever the configuration.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use heddle_core::identity::Identity;
use heddle_core::names::{NodeName, OrigDst, ServiceKey, WorkloadUid};
use heddle_core::policy::Cidr;
use heddle_core::resolve::{Destination, Refusal, resolve};
use heddle_core::snapshot::Snapshot;
use heddle_core::store::{MeshFacts, Store};
use heddle_core::upstream::model::Protocol;
use heddle_core::workload::{PortMapping, Service, Tunnel, Workload};
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn workload(name: &str, addresses: &[&str], tunnel: Tunnel, service: Option<(&str, u16, u16)>) -> Workload {
    let ports = |(key, from, to): (&str, u16, u16)| {
        (
            ServiceKey::new(key),
            Box::new([PortMapping { service_port: from, target_port: to, protocol: Protocol::Unknown }])
                as Box<[PortMapping]>,
        )
    };
    Workload {
        uid: WorkloadUid::new(format!("c//Pod/n/{name}")),
        name: name.into(),
        identity: Identity::new("cluster.local", "n", "s").unwrap(),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        tunnel,
        plaintext_ports: Box::new([9000, 81]),
        node: NodeName::new("node-1"),
        canonical_name: name.into(),
        canonical_revision: "latest".into(),
        workload_name: name.into(),
        services: service.map(ports).into_iter().collect(),
        policies: Box::new([]),
        healthy: true,
        host_network: false,
        labels: Default::default(),
        locality: Default::default(),
        weight: 1,
    }
}

fn service(key: &str, addresses: &[&str], ports: &[u16]) -> Service {
    Service {
        key: ServiceKey::new(key),
        name: "s".into(),
        namespace: "n".into(),
        hostname: "s.n.svc.cluster.local".into(),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        ports: ports
            .iter()
            .map(|port| PortMapping { service_port: *port, target_port: 0, protocol: Protocol::Unknown })
            .collect(),
        l7: None,
        unready: false,
        routing: None,
        export_to: Default::default(),
    }
}

fn mesh(registry_only: bool) -> MeshFacts {
    let ranges = ["10.244.0.0/16", "10.96.0.0/16", "fd00:10::/32"];
    MeshFacts {
        trust_domain: "cluster.local".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        cluster_ranges: ranges.iter().map(|text| Cidr::parse(text).unwrap()).collect(),
        registry_only,
        traffic: Default::default(),
        enrolled_namespaces: Vec::new(),
    }
}

fn world(registry_only: bool) -> std::sync::Arc<Snapshot> {
    let mut store = Store::default();
    store.set_mesh(mesh(registry_only));
    store.put_service(service("n/web", &["10.96.0.1", "fd00:10::1"], &[80, 90]));
    store.put_service(service("n/idle", &["10.96.0.2"], &[80]));
    store.put_service(service("n/sick", &["10.96.0.3"], &[80]));
    store.put_service(service("n/clear", &["10.96.0.4"], &[80]));
    store.put_service(service("n/zero", &["10.96.0.5"], &[80]));
    store.put_workload(workload(
        "web",
        &["10.244.1.1", "fd00:10::2:1"],
        Tunnel::Hbone,
        Some(("n/web", 80, 8080)),
    ));
    let sick = workload("sick", &["10.244.1.2"], Tunnel::Hbone, Some(("n/sick", 80, 80)));
    store.put_workload(Workload { healthy: false, ..sick });
    store.put_workload(workload("clear", &["10.244.1.3"], Tunnel::Hbone, Some(("n/clear", 80, 81))));
    store.put_workload(workload("zero", &["10.244.1.4"], Tunnel::Hbone, Some(("n/zero", 80, 0))));
    store.put_workload(workload("plain", &["10.244.1.5"], Tunnel::None, None));
    store.publish()
}

/// In a few words: `tunnel 10.0.0.1:80`, `plain …`, `pass …`, `unknown`, or the refusal.
fn answer(snapshot: &Snapshot, dialled: &str) -> String {
    match resolve(snapshot, OrigDst(dialled.parse().unwrap()), 7) {
        Destination::Workload { address, tunnel: true, .. } => format!("tunnel {address}"),
        Destination::Workload { address, tunnel: false, .. } => format!("plain {address}"),
        Destination::Passthrough(address) => format!("pass {address}"),
        Destination::Unknown => "unknown".to_owned(),
        Destination::Refused(refusal) => format!("{refusal:?}"),
    }
}

#[test]
fn each_dialled_address_leads_where_it_should() {
    let rows = [
        ("10.96.0.1:80", "tunnel 10.244.1.1:8080"),
        ("[::ffff:10.96.0.1]:80", "tunnel 10.244.1.1:8080"),
        ("[fd00:10::1]:80", "tunnel [fd00:10::2:1]:8080"),
        ("10.96.0.1:81", "NoSuchPort"),
        ("10.96.0.1:90", "NoEndpoint"),
        ("10.96.0.2:80", "NoEndpoint"),
        ("10.96.0.3:80", "NoEndpoint"),
        ("10.96.0.4:80", "plain 10.244.1.3:81"),
        ("10.96.0.5:80", "NoEndpoint"),
        ("10.244.1.1:22", "tunnel 10.244.1.1:22"),
        ("[::ffff:10.244.1.1]:22", "tunnel 10.244.1.1:22"),
        ("10.244.1.1:9000", "plain 10.244.1.1:9000"),
        ("10.244.1.1:81", "plain 10.244.1.1:81"),
        ("10.244.1.5:80", "plain 10.244.1.5:80"),
        ("10.244.9.9:80", "unknown"),
        ("10.96.9.9:80", "unknown"),
        ("[fd00:10::99]:80", "unknown"),
        ("[::ffff:10.244.9.9]:80", "unknown"),
        ("192.0.2.1:443", "pass 192.0.2.1:443"),
        ("[::ffff:192.0.2.1]:443", "pass 192.0.2.1:443"),
        ("[2001:db8::1]:443", "pass [2001:db8::1]:443"),
        ("169.254.169.254:80", "pass 169.254.169.254:80"),
        ("127.0.0.1:80", "Address"),
        ("[::1]:80", "Address"),
        ("[::ffff:127.0.0.1]:80", "Address"),
        ("0.0.0.0:80", "Address"),
        ("[::]:80", "Address"),
        ("224.0.0.1:80", "Address"),
        ("255.255.255.255:80", "Address"),
        ("[ff02::1]:80", "Address"),
        ("[fe80::1]:80", "Address"),
        ("10.96.0.1:0", "Address"),
        ("192.0.2.1:0", "Address"),
    ];
    let snapshot = world(false);
    for (dialled, wanted) in rows {
        assert_eq!(answer(&snapshot, dialled), wanted, "{dialled}");
    }
    let strict = world(true);
    for (dialled, wanted) in rows {
        let wanted = if wanted.starts_with("pass") { "NotRegistered" } else { wanted };
        assert_eq!(
            answer(&strict, dialled),
            wanted,
            "{dialled} where only registered destinations are reached"
        );
    }
}

#[test]
fn endpoints_are_chosen_evenly_and_the_same_number_chooses_the_same() {
    let mut store = Store::default();
    store.put_service(service("n/web", &["10.96.0.1"], &[80]));
    for number in 1..=5 {
        let address = format!("10.244.1.{number}");
        store.put_workload(workload(
            &number.to_string(),
            &[&address],
            Tunnel::Hbone,
            Some(("n/web", 80, 80)),
        ));
    }
    let snapshot = store.publish();
    let choose = |random| match resolve(&snapshot, OrigDst("10.96.0.1:80".parse().unwrap()), random) {
        Destination::Workload { address, .. } => address,
        other => panic!("{other:?}"),
    };
    let mut counts = BTreeMap::new();
    for random in 0..1_000 {
        assert_eq!(choose(random), choose(random));
        *counts.entry(choose(random)).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [200; 5]);
}

#[test]
fn endpoints_that_are_not_ready_serve_where_they_may_and_no_other_is_there() {
    let mut store = Store::default();
    store.put_service(Service { unready: true, ..service("n/web", &["10.96.0.1"], &[80]) });
    let sick = workload("sick", &["10.244.1.1"], Tunnel::Hbone, Some(("n/web", 80, 80)));
    store.put_workload(Workload { healthy: false, ..sick });
    assert_eq!(answer(&store.publish(), "10.96.0.1:80"), "tunnel 10.244.1.1:80");
    store.put_workload(workload("well", &["10.244.1.2"], Tunnel::Hbone, Some(("n/web", 80, 80))));
    assert_eq!(answer(&store.publish(), "10.96.0.1:80"), "tunnel 10.244.1.2:80");
}

#[test]
fn a_refusal_names_its_reason() {
    assert_eq!(Refusal::NoSuchPort.to_string(), "the service has no such port");
}

prop_compose! {
    fn any_workload()(number in 0..12_u8, hbone: bool, healthy: bool, host_network in prop::bool::weighted(0.2),
        plaintext in prop::collection::vec(78..84_u16, 0..4), target in 78..84_u16, v6: bool) -> Workload {
        let v4 = format!("10.244.1.{number}");
        let mapped = format!("fd00:10::2:{number}");
        let addresses: Vec<&str> = if v6 { vec![&v4, &mapped] } else { vec![&v4] };
        let tunnel = if hbone { Tunnel::Hbone } else { Tunnel::None };
        let made = workload(&number.to_string(), &addresses, tunnel, Some(("n/web", 80, target)));
        Workload { healthy, host_network, plaintext_ports: plaintext.into(), ..made }
    }
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        (0..14_u8).prop_map(|last| IpAddr::from([10, 244, 1, last])),
        (0..4_u8).prop_map(|last| IpAddr::from([10, 96, 0, last])),
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 4]>().prop_map(|octets| IpAddr::V6(std::net::Ipv4Addr::from(octets).to_ipv6_mapped())),
        (0..14_u16).prop_map(|last| IpAddr::from([0xfd00, 0x10, 0, 0, 0, 0, 2, last])),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ];
    (ip, prop_oneof![78..84_u16, any::<u16>()]).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_sent_in_clear_by_guess_nor_tunnelled_to_a_plaintext_port(
        workloads in prop::collection::vec(any_workload(), 0..10),
        dialled in any_address(), random: u64, registry_only: bool,
    ) {
        let mut store = Store::default();
        store.set_mesh(mesh(registry_only));
        store.put_service(service("n/web", &["10.96.0.1", "fd00:10::1"], &[80]));
        workloads.into_iter().for_each(|workload| store.put_workload(workload));
        let snapshot = store.publish();
        match resolve(&snapshot, OrigDst(dialled), random) {
            Destination::Passthrough(address) => {
                prop_assert!(!registry_only);
                prop_assert!(!snapshot.mesh().cluster_ranges.iter().any(|range| range.contains(address.ip())));
                prop_assert_eq!((address.ip(), address.port()), (dialled.ip().to_canonical(), dialled.port()));
            }
            Destination::Workload { workload, address, service, tunnel } => {
                prop_assert!(workload.addresses.contains(&address.ip()) && address.port() != 0);
                let plain = workload.tunnel == Tunnel::None || workload.host_network
                    || workload.plaintext_ports.contains(&address.port());
                prop_assert_eq!(tunnel, !plain);
                prop_assert!(service.is_none() || workload.healthy);
            }
            Destination::Unknown | Destination::Refused(_) => {}
        }
    }
}
