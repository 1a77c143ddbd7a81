//! ServiceEntries: names that the registry knows, addresses that no service has, and keys that are not everybody's.

use std::sync::Arc;

use heddle_core::object::{ExportTo, ObjectRef, TrafficObject};
use heddle_core::snapshot::Snapshot;
use heddle_core::store::{MeshFacts, Store};
use heddle_core::upstream::model::*;
use heddle_core::upstream::{Client, Cluster, ClusterKey, Resolved, Transport};

use crate::world::*;

const HOST: &str = "api.example.com";

fn port(number: u16, protocol: Protocol) -> EntryPort {
    EntryPort { name: format!("p{number}"), number, protocol, target: None }
}

fn entry(place: &str, ports: &[EntryPort], addresses: &[&str]) -> ServiceEntry {
    ServiceEntry {
        source: ObjectRef::named("ServiceEntry", place),
        created: 0,
        hosts: vec![place.replace('/', ".")],
        addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
        ports: ports.to_vec(),
        external: true,
        resolution: Resolution::Dns,
        export_to: ExportTo::All,
        endpoints: Vec::new(),
        subject_alt_names: Vec::new(),
    }
}

fn snapshot(objects: impl IntoIterator<Item = TrafficObject>) -> Arc<Snapshot> {
    let mut store = Store::default();
    store.set_mesh(MeshFacts { cluster_domain: "cluster.local".to_owned(), ..MeshFacts::default() });
    store.put_service(service("n", WEB, Some("10.96.0.1")));
    store.put_service(service("n", "none.n.svc.cluster.local", Some("10.96.0.2")));
    store.put_service(service("n", "alias.n.svc.cluster.local", None));
    store.put_workload(pod(1, ""));
    store.put_workload(pod(2, ""));
    objects.into_iter().for_each(|object| store.put_traffic(object));
    store.publish()
}

fn build(snapshot: &Snapshot, namespace: &str, host: &str) -> Cluster {
    let none = Default::default();
    let own = ["10.244.9.9".parse().unwrap()];
    let client = Client { namespace, labels: &none, locality: [""; 3], node: "", addresses: &own };
    Cluster::build(snapshot, &client, &ClusterKey::new(host, 80), &Resolved::new())
}

fn named(external: bool, address: &str) -> Cluster {
    let endpoint = EntryEndpoint { address: address.to_owned(), ..EntryEndpoint::default() };
    let object = ServiceEntry {
        hosts: vec![HOST.to_owned()],
        external,
        endpoints: vec![endpoint],
        ..entry("c/api", &[port(80, Protocol::Http)], &[])
    };
    build(&snapshot([TrafficObject::ServiceEntry(object)]), "c", HOST)
}

#[test]
fn a_service_of_the_cluster_needs_no_dns() {
    let external = named(true, WEB);
    assert_eq!((names(&external), &*external.names), (vec!["10.96.0.1:80".to_owned()], &[][..]));
    assert_eq!(external.endpoints[0].transport, Transport::Plain);
    // The tunnel leads to pods, not to virtual addresses.
    let internal = named(false, WEB);
    let addresses: Vec<String> = internal.endpoints.iter().map(|each| each.address.to_string()).collect();
    assert_eq!(addresses, ["10.244.1.1:8080", "10.244.1.2:8080"]);
    assert!(internal.endpoints.iter().all(|each| each.transport == Transport::Tunnel));
    assert!(named(false, "none.n.svc.cluster.local").endpoints.is_empty(), "nobody is behind it");
}

#[test]
fn everything_else_is_asked_for() {
    for name in ["alias.n.svc.cluster.local", "web.other.svc.cluster.local", "web.n", "www.example.com"] {
        let cluster = named(true, name);
        assert_eq!(cluster.names.iter().map(|each| &**each).collect::<Vec<_>>(), [name]);
    }
}

#[test]
fn an_answer_of_the_registry_is_as_new_as_the_registry() {
    let cluster = named(true, WEB);
    let mut store = Store::default();
    store.put_service(service("n", WEB, Some("10.96.0.9")));
    assert!(!cluster.is_current(&store.publish()));
}

#[test]
fn a_client_certificate_is_its_own_namespaces() {
    let tls = ClientTls {
        mode: TlsMode::Mutual,
        certificate: Some("chain".to_owned()),
        private_key: Some("key".to_owned()),
        ..ClientTls::default()
    };
    let policy = TrafficPolicy { tls: Some(tls), ..TrafficPolicy::default() };
    let rule = TrafficObject::DestinationRule(rule("n/keys", WEB, policy));
    let snapshot = snapshot([rule]);
    let transport = |namespace| build(&snapshot, namespace, WEB).endpoints[0].transport.clone();
    assert!(matches!(transport("n"), Transport::Tls { .. }));
    assert!(matches!(transport("elsewhere"), Transport::Refused(_)), "the agent has it for pods of n alone");
}

fn listed(snapshot: &Snapshot, namespace: &str, address: &str, port: u16) -> Option<String> {
    let found = snapshot.destinations().listed(namespace, address.parse().unwrap(), port)?;
    Some(found.host.to_string())
}

#[test]
fn what_was_dialled_belongs_to_the_narrowest_network_then_to_the_port() {
    let tcp = [port(9000, Protocol::Tcp)];
    let hidden = ServiceEntry {
        export_to: to(&["shop"]),
        ..entry("shop/narrow", &tcp, &["192.0.2.0/28", "2001:db8::/32"])
    };
    let later = ServiceEntry { created: 9, ..entry("n/any-later", &tcp, &[]) };
    let entries = [
        entry("n/wide", &tcp, &["192.0.2.0/24"]),
        hidden,
        entry("n/any", &tcp, &[]),
        later,
        // By authority and server name, not by port.
        entry("n/named", &[port(80, Protocol::Http), port(443, Protocol::Tls)], &[]),
        entry("n/broken", &[port(9001, Protocol::Tcp)], &["nowhere"]),
        entry("n/web", &[port(81, Protocol::Http)], &["192.0.2.0/24"]),
    ];
    let snapshot = snapshot(entries.map(TrafficObject::ServiceEntry));
    let ask = |namespace, address, port| listed(&snapshot, namespace, address, port);
    assert_eq!(ask("shop", "192.0.2.1", 9000).as_deref(), Some("shop.narrow"));
    assert_eq!(ask("shop", "::ffff:192.0.2.1", 9000).as_deref(), Some("shop.narrow"));
    assert_eq!(ask("n", "192.0.2.1", 9000).as_deref(), Some("n.wide"), "it does not see the other");
    assert_eq!(ask("n", "198.51.100.1", 9000).as_deref(), Some("n.any"));
    assert_eq!(ask("shop", "2001:db8::5", 9000).as_deref(), Some("shop.narrow"));
    assert_eq!(ask("n", "192.0.2.1", 81).as_deref(), Some("n.web"));
    for port in [80, 443, 9001, 7] {
        assert_eq!(ask("n", "198.51.100.1", port), None);
    }
}
