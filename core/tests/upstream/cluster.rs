//! Which endpoints a cluster has, and how each is spoken to.

use std::collections::BTreeMap;
use std::sync::Arc;

use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use heddle_core::names::{PolicyName, ServiceKey};
use heddle_core::object::{ExportTo, ObjectRef, TrafficObject};
use heddle_core::store::Store;
use heddle_core::upstream::model::*;
use heddle_core::upstream::{Client, Cluster, ClusterKey, Discovery, Resolved, Transport};
use heddle_core::workload::{Tunnel, Workload};

use crate::world::*;

fn entry(hosts: &[&str], resolution: Resolution, endpoints: &[(&str, &str)]) -> ServiceEntry {
    ServiceEntry {
        source: ObjectRef::named("ServiceEntry", "n/entry"),
        created: 0,
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        addresses: Vec::new(),
        ports: vec![EntryPort {
            name: "http".to_owned(),
            number: 80,
            protocol: Protocol::Http,
            target: Some(8080),
        }],
        external: true,
        resolution,
        export_to: ExportTo::All,
        endpoints: endpoints
            .iter()
            .map(|(address, version)| EntryEndpoint {
                address: (*address).to_owned(),
                labels: labels(&[("version", version)]),
                ..EntryEndpoint::default()
            })
            .collect(),
        subject_alt_names: vec!["spiffe://there".to_owned()],
    }
}

fn entry_cluster(objects: Vec<TrafficObject>, key: &ClusterKey, resolved: &Resolved) -> Cluster {
    let mut store = Store::default();
    store.put_workload(pod(1, ""));
    objects.into_iter().for_each(|object| store.put_traffic(object));
    let none = BTreeMap::new();
    let client = Client { namespace: "c", labels: &none, locality: [""; 3], node: "", addresses: &[] };
    Cluster::build(&store.publish(), &client, key, resolved)
}

fn tls(mode: TlsMode) -> TrafficPolicy {
    TrafficPolicy { tls: Some(ClientTls { mode, ..ClientTls::default() }), ..TrafficPolicy::default() }
}

#[test]
fn names_are_istios() {
    assert_eq!(ClusterKey::new(WEB, 80).to_string(), format!("outbound|80||{WEB}"));
    assert_eq!(ClusterKey::subset(WEB, 80, "v1").to_string(), format!("outbound|80|v1|{WEB}"));
}

#[test]
fn endpoints_are_the_healthy_ones_of_the_subset_and_the_others_are_told() {
    let mut written = rule("n/r", WEB, Default::default());
    written.subsets = vec![subset("v1", &[("version", "v1")], Default::default())];
    let pods = [
        pod(1, "version=v1"),
        pod(2, "version=v2"),
        Workload { healthy: false, ..pod(3, "version=v1") },
        Workload { services: Box::new([]), ..pod(4, "version=v1") },
    ];
    let snapshot = world(pods, vec![written]);
    let cluster = cluster_for(&snapshot, "c", "", &[], &ClusterKey::subset(WEB, 80, "v1"));
    assert_eq!(names(&cluster), ["web-1"]);
    assert_eq!(cluster.endpoints[0].address.to_string(), "10.244.1.1:8080");
    assert_eq!(cluster.protocol, Protocol::Http);
    let excluded: Vec<String> =
        cluster.excluded.iter().map(|it| format!("{}: {}", it.name, it.why)).collect();
    let v2 = "web-2: not in the subset: label version is v2, not v1";
    assert_eq!(excluded, [v2, "web-3: not ready"]);
}

#[test]
fn an_unknown_host_and_a_missing_subset_are_no_clusters() {
    let snapshot = world([pod(1, "")], vec![rule("n/r", WEB, Default::default())]);
    let missing = cluster_for(&snapshot, "c", "", &[], &ClusterKey::subset(WEB, 80, "v9"));
    assert!(missing.missing_subset && !missing.is_known() && missing.endpoints.is_empty());
    let unknown = cluster_for(&snapshot, "c", "", &[], &ClusterKey::new("nobody.n.svc.cluster.local", 80));
    assert!(!unknown.is_known() && !unknown.missing_subset);
    let no_such_port = cluster_for(&snapshot, "c", "", &[], &ClusterKey::new(WEB, 81));
    assert!(no_such_port.is_known() && no_such_port.endpoints.is_empty());
}

#[test]
fn each_tls_mode_speaks_to_the_mesh_and_to_the_outside_as_it_should() {
    let outside = Workload { tunnel: Tunnel::None, ..pod(2, "") };
    let disabled = Workload { plaintext_ports: Box::new([8080]), ..pod(3, "") };
    let strict = Workload {
        policies: Box::new([PolicyName::new("istio-system/istio_converted_static_strict")]),
        ..pod(4, "")
    };
    let pods = [pod(1, ""), outside, disabled, strict];
    let say = |transport: &Transport| match transport {
        Transport::Tunnel => "tunnel",
        Transport::Plain => "plain",
        Transport::Tls { tunnel: true, .. } => "tls in tunnel",
        Transport::Tls { tunnel: false, .. } => "tls",
        Transport::Refused(_) => "refused",
    };
    let rows = [
        (TrafficPolicy::default(), ["tunnel", "plain", "plain", "tunnel"]),
        (tls(TlsMode::IstioMutual), ["tunnel", "refused", "refused", "tunnel"]),
        (tls(TlsMode::Disable), ["plain", "plain", "plain", "tunnel"]),
        (tls(TlsMode::Simple), ["tls in tunnel", "tls", "tls", "tls in tunnel"]),
        (tls(TlsMode::Mutual), ["tls in tunnel", "tls", "tls", "tls in tunnel"]),
    ];
    for (policy, wanted) in rows {
        let cluster = web(&world(pods.clone(), vec![rule("n/r", WEB, policy.clone())]));
        let found: Vec<&str> = cluster.endpoints.iter().map(|endpoint| say(&endpoint.transport)).collect();
        assert_eq!(found, wanted, "{:?}", policy.tls);
    }
    let broken = ClientTls { broken: Some("no Secret".to_owned()), ..ClientTls::default() };
    let policy = TrafficPolicy { tls: Some(broken), ..TrafficPolicy::default() };
    let cluster = web(&world(pods, vec![rule("n/r", WEB, policy)]));
    assert!(cluster.endpoints.iter().all(|it| it.transport == Transport::Refused("no Secret".into())));
}

#[test]
fn disable_means_plaintext_on_the_ports_where_the_receiver_admits_it() {
    let name = PolicyName::new("n/converted_peer_authentication_p");
    let mut store = Store::default();
    store.put_service(service("n", WEB, Some("10.96.0.1")));
    store.put_workload(Workload { policies: Box::new([name.clone()]), ..pod(1, "") });
    store.put_traffic(TrafficObject::DestinationRule(rule("n/r", WEB, tls(TlsMode::Disable))));
    let strict_but = MtlsPolicy::new(MtlsMode::Strict, [(8080, MtlsMode::Permissive)]);
    store.put_policy(strict_but.denial(name.clone()).unwrap());
    assert_eq!(web(&store.publish()).endpoints[0].transport, Transport::Plain);
    let permissive_but = MtlsPolicy::new(MtlsMode::Permissive, [(8080, MtlsMode::Strict)]);
    store.put_policy(permissive_but.denial(name).unwrap());
    assert_eq!(web(&store.publish()).endpoints[0].transport, Transport::Tunnel);
}

#[test]
fn a_static_entry_has_what_it_lists_and_subsets_of_it() {
    let listed = entry(
        &["out.example"],
        Resolution::Static,
        &[("192.0.2.1", "v1"), ("192.0.2.2", "v2"), ("a.name", "v1")],
    );
    let mut written = rule("n/r", "out.example", tls(TlsMode::Simple));
    written.subsets = vec![subset("v1", &[("version", "v1")], Default::default())];
    let objects =
        || vec![TrafficObject::ServiceEntry(listed.clone()), TrafficObject::DestinationRule(written.clone())];
    let whole = entry_cluster(objects(), &ClusterKey::new("out.example", 80), &Resolved::new());
    assert!(whole.is_known() && whole.external && whole.discovery == Discovery::Eds);
    assert_eq!(names(&whole), ["192.0.2.1:8080", "192.0.2.2:8080"]);
    let Transport::Tls { tls, tunnel: false } = &whole.endpoints[0].transport else { panic!("{whole:?}") };
    assert_eq!(tls.subject_alt_names, ["spiffe://there"]);
    assert_eq!(
        whole.excluded[0].why.to_string(),
        "it is no address, and names are not resolved under STATIC"
    );
    let v1 = entry_cluster(objects(), &ClusterKey::subset("out.example", 80, "v1"), &Resolved::new());
    assert_eq!(names(&v1), ["192.0.2.1:8080"]);
}

#[test]
fn an_external_entry_speaks_plainly_to_a_workload_and_an_internal_one_tunnels() {
    for (external, wanted) in [(true, Transport::Plain), (false, Transport::Tunnel)] {
        let listed =
            ServiceEntry { external, ..entry(&["in.example"], Resolution::Static, &[("10.244.1.1", "")]) };
        let objects = vec![TrafficObject::ServiceEntry(listed)];
        let cluster = entry_cluster(objects, &ClusterKey::new("in.example", 80), &Resolved::new());
        assert_eq!(names(&cluster), ["web-1"]);
        assert_eq!(cluster.endpoints[0].transport, wanted);
    }
}

#[test]
fn names_are_asked_for_and_their_addresses_are_the_endpoints() {
    let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Arc<[_]>>();
    let resolved: Resolved = [
        ("a.example".into(), ips(&["192.0.2.1", "2001:db8::1"])),
        ("out.example".into(), ips(&["192.0.2.9", "192.0.2.8"])),
    ]
    .into();
    let build = |resolution, endpoints: &[(&str, &str)]| {
        let objects = vec![TrafficObject::ServiceEntry(entry(&["out.example"], resolution, endpoints))];
        entry_cluster(objects, &ClusterKey::new("out.example", 80), &resolved)
    };
    let listed = build(Resolution::Dns, &[("a.example", ""), ("gone.example", ""), ("192.0.2.3", "")]);
    assert_eq!(names(&listed), ["192.0.2.1:8080", "[2001:db8::1]:8080", "192.0.2.3:8080"]);
    assert_eq!(listed.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["a.example", "gone.example"]);
    assert_eq!(listed.discovery, Discovery::StrictDns);
    assert_eq!(listed.excluded[0].why.to_string(), "its name does not resolve");
    assert_eq!(names(&build(Resolution::Dns, &[])), ["192.0.2.8:8080", "192.0.2.9:8080"]);
    let logical = build(Resolution::DnsRoundRobin, &[]);
    assert_eq!(
        (names(&logical), logical.discovery),
        (vec!["192.0.2.9:8080".to_owned()], Discovery::LogicalDns)
    );
}

#[test]
fn what_is_resolved_by_nobody_goes_where_it_was_dialled() {
    let mut store = Store::default();
    store.put_traffic(TrafficObject::ServiceEntry(entry(&["*.example"], Resolution::None, &[])));
    let snapshot = store.publish();
    let cluster = cluster_for(&snapshot, "c", "", &[], &ClusterKey::new("www.example", 80));
    assert!(cluster.is_known() && cluster.discovery == Discovery::OriginalDst);
    let go = || cluster.as_dialled("192.0.2.7:80".parse().unwrap()).unwrap();
    assert_eq!((go().address.to_string().as_str(), &go().transport), ("192.0.2.7:80", &Transport::Plain));
    drop((store, snapshot));
    assert!(matches!(go().transport, Transport::Refused(_)), "what is out of date guesses nothing");
}

#[test]
fn what_an_entry_lists_and_the_registry_has_is_one_endpoint_with_both_their_knowledge() {
    let host = "in.example";
    let listed = |address: &str| EntryEndpoint {
        address: address.to_owned(),
        labels: labels(&[("version", "v9")]),
        weight: 7,
        ..EntryEndpoint::default()
    };
    let mut entry = ServiceEntry { external: false, ..entry(&[host], Resolution::Static, &[]) };
    entry.endpoints = vec![listed("10.244.1.1"), listed("10.244.1.2"), listed("192.0.2.1")];
    let of_entry = |workload: Workload| {
        let (_, ports) = workload.services[0].clone();
        Workload { services: Box::new([(ServiceKey::new(format!("n/{host}")), ports)]), ..workload }
    };
    let mut store = Store::default();
    store.put_service(service("n", host, Some("240.0.0.1")));
    store.put_workload(of_entry(at("eu/a", pod(1, "version=v1"))));
    store.put_workload(of_entry(Workload { healthy: false, ..pod(2, "") }));
    store.put_workload(of_entry(pod(3, "version=v3")));
    store.put_traffic(TrafficObject::ServiceEntry(entry));
    let cluster = cluster_for(&store.publish(), "c", "", &[], &ClusterKey::new(host, 80));
    assert_eq!(names(&cluster), ["web-1", "192.0.2.1:8080", "web-3"]);
    let first = &cluster.endpoints[0];
    assert_eq!(
        (first.weight, &first.transport, first.labels()["version"].as_str()),
        (7, &Transport::Tunnel, "v9")
    );
    assert_eq!(first.locality[0].as_ref(), "eu");
    assert_eq!(cluster.excluded.len(), 1, "web-2 is not ready: {:?}", cluster.excluded);
}

#[test]
fn unready_endpoints_serve_where_they_may_and_nobody_else_is_there() {
    let unready = |number| Workload { healthy: false, ..pod(number, "") };
    let cluster = |pods: Vec<Workload>, allowed| {
        let mut store = Store::default();
        let address = Some("10.96.0.1");
        store.put_service(heddle_core::workload::Service { unready: allowed, ..service("n", WEB, address) });
        pods.into_iter().for_each(|pod| store.put_workload(pod));
        names(&web(&store.publish()))
    };
    assert_eq!(cluster(vec![unready(1)], false), [""; 0]);
    assert_eq!(cluster(vec![unready(1), unready(2)], true), ["web-1", "web-2"]);
    assert_eq!(cluster(vec![unready(1), pod(2, "")], true), ["web-2"]);
}

#[test]
fn a_cluster_is_current_until_something_that_it_is_made_of_changes() {
    let mut store = Store::default();
    store.put_service(service("n", WEB, Some("10.96.0.1")));
    store.put_service(service("n", "other.n.svc.cluster.local", Some("10.96.0.2")));
    store.put_workload(pod(1, ""));
    let cluster = web(&store.publish());
    let elsewhere = Workload { services: Box::new([]), ..pod(9, "") };
    store.put_workload(elsewhere);
    store.put_workload(pod(1, ""));
    store.remove_service(&ServiceKey::new("n/other.n.svc.cluster.local"));
    assert!(cluster.is_current(&store.publish()), "others came and went");
    store.put_workload(Workload { healthy: false, ..pod(1, "") });
    assert!(!cluster.is_current(&store.publish()));
    let cluster = web(&store.publish());
    store.remove_workload(&pod(1, "").uid);
    assert!(!cluster.is_current(&store.publish()));
    let cluster = web(&store.publish());
    store.put_service(service("n", WEB, Some("10.96.0.3")));
    assert!(!cluster.is_current(&store.publish()));
    let unknown = cluster_for(&store.publish(), "c", "", &[], &ClusterKey::new("new.example", 80));
    assert!(unknown.is_current(&store.publish()));
    store.put_service(service("n", "new.example", None));
    assert!(!unknown.is_current(&store.publish()));
}

#[test]
fn a_headless_service_goes_to_the_pod_that_was_dialled_and_never_in_clear_by_guess() {
    let mut store = Store::default();
    store.put_service(service("n", WEB, None));
    let ranges = [heddle_core::policy::Cidr::parse("10.244.0.0/16").unwrap()];
    store.set_mesh(heddle_core::store::MeshFacts { cluster_ranges: ranges.into(), ..Default::default() });
    store.put_workload(pod(1, ""));
    store.put_workload(Workload { healthy: false, ..pod(2, "") });
    let cluster = web(&store.publish());
    assert_eq!(cluster.discovery, Discovery::OriginalDst);
    let go = |text: &str| cluster.as_dialled(text.parse().unwrap()).unwrap();
    assert!(Arc::ptr_eq(&go("10.244.1.1:8080"), &cluster.endpoints[0]));
    assert_eq!(go("[::ffff:10.244.1.1]:8080").address.to_string(), "10.244.1.1:8080");
    assert_eq!(
        (go("10.244.1.2:8080").name().as_ref(), &go("10.244.1.2:8080").transport),
        ("web-2", &Transport::Tunnel)
    );
    assert!(matches!(go("10.244.9.9:8080").transport, Transport::Refused(_)));
    let cluster = web(&world([pod(1, "")], vec![rule("n/r", WEB, balanced(Algorithm::Passthrough))]));
    assert!(
        cluster.as_dialled("10.96.0.1:80".parse().unwrap()).is_none(),
        "the virtual address stands for all"
    );
}

#[test]
fn of_one_host_name_in_two_namespaces_clients_mean_their_own_then_what_they_see() {
    let mut store = Store::default();
    let host = "shared.example";
    let hidden =
        heddle_core::workload::Service { export_to: to(&["a"]), ..service("a", host, Some("10.96.0.1")) };
    store.put_service(hidden);
    store.put_service(service("b", host, Some("10.96.0.2")));
    store.put_service(service("d", host, Some("10.96.0.3")));
    let snapshot = store.publish();
    let of = |namespace| {
        let cluster = cluster_for(&snapshot, namespace, "", &[], &ClusterKey::new(host, 80));
        cluster.service.map(|service| service.namespace.to_string())
    };
    assert_eq!([of("a"), of("c"), of("d")].map(Option::unwrap), ["a", "b", "d"]);
}
