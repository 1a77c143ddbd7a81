//! Which host an authority is.

use heddle_core::object::{ExportTo, ObjectRef, TrafficObject};
use heddle_core::route::Client;
use heddle_core::upstream::model::{EntryPort, Protocol, Resolution, ServiceEntry};
use heddle_core::workload::Service;

use crate::world::*;

fn named(world: &mut World, namespace: &str, authority: &str, port: u16) -> String {
    let snapshot = world.publish();
    let labels = labels(&[]);
    let client = Client { namespace, labels: &labels };
    let host = snapshot.routes().virtual_host(&client, authority, port, None);
    host.map_or_else(|| "nobody".to_owned(), |host| host.name().to_string())
}

fn entry(name: &str, hosts: &[&str], export_to: ExportTo) -> TrafficObject {
    TrafficObject::ServiceEntry(ServiceEntry {
        source: ObjectRef {
            kind: "ServiceEntry".to_owned(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
        },
        created: 0,
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        addresses: Vec::new(),
        ports: vec![EntryPort {
            name: "http".to_owned(),
            number: 80,
            protocol: Protocol::Http,
            target: None,
        }],
        external: true,
        resolution: Resolution::Dns,
        export_to,
        endpoints: Vec::new(),
        subject_alt_names: Vec::new(),
    })
}

#[test]
fn an_authority_is_completed_as_dns_would_complete_it() {
    let mut world = World::new();
    let (ours, theirs) = (fqdn("reviews", "default"), fqdn("reviews", "other"));
    for (namespace, authority, host) in [
        ("default", "reviews", &*ours),
        ("default", "Reviews:9080", &ours),
        ("default", "reviews.default", &ours),
        ("default", "reviews.default.svc", &ours),
        ("default", "reviews.default.svc.cluster.local", &ours),
        ("default", "reviews.default.svc.cluster.local.:80", &ours),
        ("other", "reviews", &theirs),
        ("other", "reviews.default", &ours),
        ("third", "reviews", "nobody"),
        ("default", "reviews.default.svc.cluster", "nobody"),
        ("default", "user@reviews", "nobody"),
        ("default", "", "nobody"),
        ("default", ":80", "nobody"),
        ("default", "[::1]:80", "nobody"),
        ("default", "10.0.0.1:80", "nobody"),
        ("default", &"a".repeat(400), "nobody"),
    ] {
        assert_eq!(named(&mut world, namespace, authority, 80), host, "{namespace} {authority}");
    }
}

#[test]
fn a_host_is_asked_on_the_ports_that_it_has() {
    let mut world = World::new();
    assert_eq!(named(&mut world, "default", "reviews", 81), "nobody");
    let hosts = ["reviews.default.svc.cluster.local", "unregistered.example.com"];
    let mut world = world.with(virtual_service("vs", 0, &hosts, vec![rule("r", vec![])]));
    assert_eq!(named(&mut world, "default", "reviews", 81), "nobody");
    assert_eq!(named(&mut world, "default", "unregistered.example.com", 81), hosts[1]);
}

#[test]
fn of_wildcards_the_longest_that_is_seen_speaks_for_what_nobody_names() {
    let mut world = World::new()
        .with(virtual_service("all", 0, &["*"], vec![rule("all", vec![])]))
        .with(virtual_service("com", 1, &["*.example.com"], vec![rule("com", vec![])]))
        .with(virtual_service("exact", 2, &["a.example.com"], vec![rule("exact", vec![])]));
    world.store.put_traffic(entry(
        "entry",
        &["*.b.example.com"],
        ExportTo::Namespaces(["other".to_owned()].into()),
    ));
    let requests = [
        get("/").to("a.example.com"),
        get("/").to("x.example.com"),
        get("/").to("example.com"),
        get("/").to("x.b.example.com"),
        get("/").to("x.b.example.com").from("other"),
        get("/"),
    ];
    assert_eq!(
        decisions(&mut world, &requests),
        ["exact/exact", "com/com", "all/all", "com/com", "com/com", "all/all"]
    );
    assert_eq!(named(&mut world, "other", "x.b.example.com", 80), "*.b.example.com");
    assert_eq!(named(&mut world, "default", "x.b.example.com", 80), "*.example.com");
    assert_eq!(named(&mut world, "other", "x.b.example.com", 81), "*.example.com");
}

#[test]
fn without_a_known_authority_the_service_that_was_dialled_is_asked() {
    let mut world = World::new().with(virtual_service(
        "vs",
        0,
        &["ratings.default.svc.cluster.local"],
        vec![rule("r", vec![])],
    ));
    let snapshot = world.publish();
    let labels = labels(&[]);
    let client = Client { namespace: "default", labels: &labels };
    let ratings = service("ratings", "default", &[80]);
    let host = |authority| snapshot.routes().virtual_host(&client, authority, 80, Some(&ratings));
    assert_eq!(&**host("10.96.0.1").expect("dialled").name(), "ratings.default.svc.cluster.local");
    assert_eq!(&**host("reviews").expect("named").name(), "reviews.default.svc.cluster.local");
    assert!(snapshot.routes().has_http_rules(&client, &ratings.hostname, 80));
    assert!(!snapshot.routes().has_http_rules(&client, &fqdn("reviews", "default"), 80));
}

#[test]
fn a_service_that_is_not_exported_is_not_named() {
    let mut world = World::new();
    let mut private = service("private", "default", &[80]);
    private.export_to = ExportTo::Namespaces(["default".to_owned()].into());
    world.store.put_service(private.clone());
    assert_eq!(named(&mut world, "default", "private.default", 80), fqdn("private", "default"));
    assert_eq!(named(&mut world, "other", "private.default", 80), "nobody");
    world.store.remove_service(&private.key);
    assert_eq!(named(&mut world, "default", "private.default", 80), "nobody");
}

#[test]
fn routes_of_the_gateway_api_count_for_the_address_of_their_service_whatever_the_name() {
    let addressed = |name: &str, last: u8| {
        let addresses = [std::net::IpAddr::from([10, 96, 0, last])].into();
        Service { addresses, ..service(name, "default", &[80, 9080]) }
    };
    let (reviews, ratings) = (addressed("reviews", 1), addressed("ratings", 2));
    let mut world = World::new().with(http_route("r", 0, vec![rule("r", vec![])]));
    world.store.put_service(reviews.clone());
    world.store.put_service(ratings.clone());
    let snapshot = world.publish();
    let labels = labels(&[]);
    let client = Client { namespace: "default", labels: &labels };
    let host = |authority: &str, dialled: Option<&Service>| {
        let host = snapshot.routes().virtual_host(&client, authority, 80, dialled);
        host.map(|host| host.name().split('.').next().unwrap_or_default().to_owned())
    };
    for (authority, dialled, wanted) in [
        ("reviews", Some(&reviews), Some("reviews")),
        ("ratings", Some(&reviews), Some("reviews")),
        ("nobody", Some(&reviews), Some("reviews")),
        ("reviews", Some(&ratings), Some("ratings")),
        // A pod of it, by its own address.
        ("reviews", None, None),
        ("ratings", None, Some("ratings")),
    ] {
        let to = dialled.map(|service| &*service.name);
        assert_eq!(host(authority, dialled).as_deref(), wanted, "{authority} at {to:?}");
    }
}
