//! Routes and their parents, entries, policies: what they become on the wire, and what their status says.

use heddle_api::normalised::Context;
use heddle_core::object::{ExportTo, ObjectRef, TrafficObject};
use heddle_core::policy::{self as core, Policy};
use heddle_core::route::model::{
    Attach, Backend, BackendRef, HostRef, HttpAction, HttpRule, RouteObject, ServiceParent,
};
use heddle_core::upstream::model::{EntryEndpoint, EntryPort, Protocol, Resolution, ServiceEntry};
use heddle_proto::heddle::v1 as ours;

use super::*;

fn source(key: &Key) -> ObjectRef {
    ObjectRef {
        kind: key.kind.name().to_owned(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
    }
}

fn host(namespace: &str, name: &str, port: u16) -> BackendRef {
    let host = format!("{name}.{namespace}.svc.cluster.local");
    BackendRef::Host(HostRef { host, port: Some(port), subset: None })
}

fn rules(backends: &[(String, String, u16)]) -> Vec<HttpRule> {
    let backend = |(namespace, name, port): &(String, String, u16)| Backend {
        to: host(namespace, name, *port),
        weight: 1,
        headers: Default::default(),
        rewrite: None,
        mirrors: Vec::new(),
        redirect: None,
    };
    let action = HttpAction::Forward(backends.iter().map(backend).collect());
    vec![HttpRule { action, ..HttpRule::default() }]
}

pub(super) fn virtual_service(key: &Key, weight: usize) -> Input {
    let hosts = vec![format!("host{weight}.example.com")];
    let route = RouteObject {
        source: source(key),
        created: 1,
        attach: Attach::Hosts { hosts, export_to: ExportTo::All },
        http: Vec::new(),
        tls: Vec::new(),
        tcp: Vec::new(),
    };
    Input::Traffic(Arc::new(TrafficObject::Route(route)))
}

pub(super) fn route(key: &Key, parent: (&str, &str), backends: &[(String, String, u16)]) -> Input {
    let written =
        serde_json::json!({"group": "", "kind": "Service", "namespace": parent.0, "name": parent.1});
    let route = RouteObject {
        source: source(key),
        created: 1,
        attach: Attach::Services(Vec::new()),
        http: rules(backends),
        tls: Vec::new(),
        tcp: Vec::new(),
    };
    let parents = vec![Parent::read(&written, &key.namespace)];
    Input::Route(Arc::new(RouteInput { route, parents, dropped: Vec::new() }))
}

pub(super) fn entry(key: &Key, host: &str, selector: &str, endpoints: &[&str], fixed: bool) -> Input {
    let endpoint = |address: &&str| EntryEndpoint { address: (*address).into(), ..EntryEndpoint::default() };
    let port = EntryPort { name: "http".into(), number: 80, protocol: Protocol::Http, target: Some(8080) };
    let entry = ServiceEntry {
        source: source(key),
        created: 1,
        hosts: vec![host.to_owned()],
        addresses: vec!["240.0.0.1".into(), "10.9.0.0/16".into()],
        ports: vec![port],
        external: false,
        resolution: if fixed { Resolution::Static } else { Resolution::Dns },
        export_to: ExportTo::All,
        endpoints: endpoints.iter().map(endpoint).collect(),
        subject_alt_names: Vec::new(),
    };
    let selector = (!selector.is_empty()).then(|| labels(selector));
    Input::Entry(Arc::new(EntryInput { entry, selector }))
}

pub(super) fn policy(key: &Key, selection: Selection, asks: bool) -> Input {
    let methods = if asks { vec![core::StringMatch::Exact("GET".into())] } else { Vec::new() };
    let request = core::RequestMatch { methods: methods.into(), ..Default::default() };
    let one = core::Match { destination_ports: [8080].into(), request, ..core::Match::default() };
    let clause = core::Clause { matches: [one].into() };
    let name = heddle_core::names::PolicyName::new(format!("{}/{}", key.namespace, key.name));
    let policy = Policy::new(name, core::Action::Allow, [core::Rule { clauses: [clause].into() }].into());
    Input::Policy(Arc::new(PolicyInput { selection, policy }))
}

pub(super) fn keyed(key: &Key, secret: &str) -> Input {
    let rule = serde_json::json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": &*key.name, "namespace": &*key.namespace}, "spec": {"host": "x.example.com",
        "trafficPolicy": {"tls": {"mode": "MUTUAL", "credentialName": secret}}}});
    let object = heddle_api::object::Object::from_value(rule).unwrap();
    Input::Keyed(Arc::new(KeyedInput {
        object,
        secrets: [secret.to_owned()].into(),
        context: Context::default(),
    }))
}

pub(super) fn secret(key: &str) -> Input {
    Input::Secret(Arc::new(SecretInput(heddle_api::upstream::Credential {
        ca: Some("ca".into()),
        certificate: Some("cert".into()),
        private_key: Some(key.to_owned()),
    })))
}

fn put(kind: InputKind, name: &str, input: impl FnOnce(&Key) -> Input) -> Change {
    let key = Key::new(kind, "ns", name);
    let input = input(&key);
    Change::Put(key, input)
}

fn object(index: &Index, name: &str) -> Option<TrafficObject> {
    let resource = index.output().traffic().get(name)?;
    let wire = ours::TrafficObject::decode(resource.encoded.clone()).unwrap();
    let object: TrafficObject = serde_json::from_slice(&wire.json).unwrap();
    assert_eq!(object.wire_name(), name);
    Some(object)
}

fn routed(index: &Index) -> Option<(Vec<ServiceParent>, Vec<Backend>)> {
    let TrafficObject::Route(route) = object(index, "HTTPRoute/ns/r")? else { unreachable!() };
    let (Attach::Services(parents), HttpAction::Forward(backends)) = (route.attach, &route.http[0].action)
    else {
        unreachable!()
    };
    Some((parents, backends.clone()))
}

fn backend(namespace: &str, name: &str, port: u16) -> (String, String, u16) {
    (namespace.to_owned(), name.to_owned(), port)
}

fn reasons(index: &mut Index) -> Vec<(&'static str, &'static str)> {
    let news = index.take_verdicts();
    news.into_iter()
        .flat_map(|(_, said)| said)
        .map(|said| (said.accepted.reason, said.resolved.reason))
        .collect()
}

#[test]
fn a_route_is_taken_when_its_service_is_there_and_says_what_it_lacks() {
    let route = put(InputKind::HttpRoute, "r", |key| route(key, ("ns", "s"), &[backend("ns", "b", 80)]));
    let mut index = built([route]);
    assert_eq!(reasons(&mut index), [("NoMatchingParent", "BackendNotFound")]);
    assert!(routed(&index).is_none());
    index.apply([service("s", "app=a", TargetPort::Number(80))]);
    assert_eq!(reasons(&mut index), [("Accepted", "BackendNotFound")]);
    let (parents, backends) = routed(&index).unwrap();
    assert_eq!((parents[0].hostname.as_str(), parents[0].consumer), ("s.ns.svc.cluster.local", false));
    assert!(matches!(&backends[0].to, BackendRef::Invalid(why) if why.contains("ns/b does not exist")));
    index.apply([service("b", "app=b", TargetPort::Number(80))]);
    assert_eq!(reasons(&mut index), [("Accepted", "ResolvedRefs")]);
    assert_eq!(routed(&index).unwrap().1[0].to, host("ns", "b", 80));
    assert!(reasons(&mut index).is_empty(), "told once");
    index.apply([Change::Remove(Key::new(InputKind::Service, "ns", "s"))]);
    assert_eq!(reasons(&mut index), [("NoMatchingParent", "ResolvedRefs")]);
}

#[test]
fn a_backend_of_another_namespace_needs_a_grant_there() {
    let route = put(InputKind::HttpRoute, "r", |key| route(key, ("ns", "s"), &[backend("other", "b", 80)]));
    let Change::Put(_, there) = service("b", "app=b", TargetPort::Number(80)) else { unreachable!() };
    let there = Change::Put(Key::new(InputKind::Service, "other", "b"), there);
    let mut index = built([route, there, service("s", "app=a", TargetPort::Number(80))]);
    assert_eq!(reasons(&mut index), [("Accepted", "RefNotPermitted")]);
    let grant = |kind: &str, from: &str, to: Option<&str>| {
        let grant = GrantInput {
            from: vec![(GATEWAY_GROUP.into(), kind.into(), from.into())],
            to: vec![(String::new(), "Service".into(), to.map(str::to_owned))],
        };
        Change::Put(Key::new(InputKind::ReferenceGrant, "other", "g"), Input::Grant(grant))
    };
    for (kind, from, to) in
        [("GRPCRoute", "ns", None), ("HTTPRoute", "else", None), ("HTTPRoute", "ns", Some("c"))]
    {
        index.apply([grant(kind, from, to)]);
        assert!(reasons(&mut index).is_empty(), "{kind} {from} {to:?}");
    }
    for to in [None, Some("b")] {
        index.apply([grant("HTTPRoute", "ns", to)]);
        assert_eq!(reasons(&mut index), [("Accepted", "ResolvedRefs")]);
        index.apply([Change::Remove(Key::new(InputKind::ReferenceGrant, "other", "g"))]);
        assert_eq!(reasons(&mut index), [("Accepted", "RefNotPermitted")]);
    }
}

#[test]
fn a_consumers_route_back_to_its_own_parent_needs_no_grant() {
    let route =
        put(InputKind::HttpRoute, "r", |key| route(key, ("other", "s"), &[backend("other", "s", 80)]));
    let Change::Put(_, there) = service("s", "app=a", TargetPort::Number(80)) else { unreachable!() };
    let mut index = built([route, Change::Put(Key::new(InputKind::Service, "other", "s"), there)]);
    assert_eq!(reasons(&mut index), [("Accepted", "ResolvedRefs")]);
}

#[test]
fn a_route_in_another_namespace_than_its_service_is_its_consumers() {
    let Change::Put(_, there) = service("s", "app=b", TargetPort::Number(80)) else { unreachable!() };
    let there = Change::Put(Key::new(InputKind::Service, "other", "s"), there);
    let route = put(InputKind::HttpRoute, "r", |key| route(key, ("other", "s"), &[]));
    let index = built([route, there]);
    assert!(routed(&index).unwrap().0[0].consumer);
}

#[test]
fn a_parents_port_is_named_by_number_or_by_section() {
    let parent = |extra: serde_json::Value| {
        let mut written = serde_json::json!({"group": "", "kind": "Service", "name": "s"});
        written.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let change = put(InputKind::HttpRoute, "r", |key| {
            let Input::Route(input) = route(key, ("ns", "s"), &[]) else { unreachable!() };
            let parents = vec![Parent::read(&written, "ns")];
            Input::Route(Arc::new(RouteInput { parents, ..(*input).clone() }))
        });
        let mut index = built([change, service("s", "app=a", TargetPort::Number(80))]);
        (routed(&index).map(|(parents, _)| parents[0].port), reasons(&mut index)[0].0)
    };
    assert_eq!(parent(serde_json::json!({})), (Some(None), "Accepted"));
    assert_eq!(parent(serde_json::json!({"port": 80})), (Some(Some(80)), "Accepted"));
    assert_eq!(parent(serde_json::json!({"sectionName": "http"})), (Some(Some(80)), "Accepted"));
    assert_eq!(parent(serde_json::json!({"port": 81})), (None, "NoMatchingParent"));
    assert_eq!(parent(serde_json::json!({"sectionName": "x"})), (None, "NoMatchingParent"));
    assert_eq!(parent(serde_json::json!({"sectionName": "http", "port": 81})), (None, "NoMatchingParent"));
}

#[test]
fn a_policy_that_asks_of_requests_has_two_forms_and_one_that_does_not_has_one() {
    let change =
        |asks| put(InputKind::AuthorizationPolicy, "p", |key| policy(key, Selection::default(), asks));
    let mut index = built([namespace("ns", MESH), pod("a", "app=a", "10.244.1.2"), change(true)]);
    assert_eq!(local(&index, "a").unwrap().authorization_policies, ["ns/p"]);
    let rules = |index: &Index| {
        let resource = index.output().authorizations().get("ns/p").unwrap();
        let policy = Authorization::decode(resource.encoded.clone()).unwrap();
        assert_eq!(policy.action, Action::Allow as i32);
        policy.rules
    };
    assert!(rules(&index).is_empty(), "a receiver that cannot ask allows nothing");
    assert!(matches!(object(&index, "AuthorizationPolicy/ns/p"), Some(TrafficObject::Policy(_))));
    index.apply([change(false)]);
    assert_eq!(rules(&index)[0].clauses[0].matches[0].destination_ports, [8080]);
    assert!(object(&index, "AuthorizationPolicy/ns/p").is_none());
}

#[test]
fn a_static_entry_announces_its_host_its_endpoints_and_the_pods_that_it_selects() {
    let mut index = built([
        namespace("ns", MESH),
        pod("a", "app=a", "10.244.1.2"),
        pod("b", "app=b", "10.244.1.3"),
        put(InputKind::ServiceEntry, "e", |key| {
            entry(key, "x.example.com", "app=a", &["192.0.2.7", "10.244.1.3"], true)
        }),
        put(InputKind::WorkloadEntry, "w", |_| {
            Input::WorkloadEntry(Arc::new(WorkloadEntryInput {
                address: "192.0.2.8".into(),
                labels: labels("app=a"),
                weight: 3,
                service_account: "vm".into(),
                locality: "r/z".into(),
                ..WorkloadEntryInput::default()
            }))
        }),
    ]);
    let name = "ns/x.example.com";
    let addresses = index.output().addresses();
    let Some(Type::Service(service)) =
        Address::decode(addresses.get(name).unwrap().encoded.clone()).unwrap().r#type
    else {
        unreachable!()
    };
    assert_eq!(service.addresses.len(), 1, "a network is no address");
    let at = |index: &Index, uid: &str| {
        let resource = index.output().addresses().get(uid)?;
        match Address::decode(resource.encoded.clone()).unwrap().r#type {
            Some(Type::Workload(workload)) => Some(workload),
            _ => None,
        }
    };
    for pod in ["a", "b"] {
        let workload = workload(&index, pod).unwrap();
        assert_eq!(workload.services[name].ports[0].target_port, 8080, "{pod}");
        assert_eq!(workload.tunnel_protocol, TunnelProtocol::Hbone as i32, "{pod} keeps its tunnel");
    }
    let inline = "Kubernetes/networking.istio.io/ServiceEntry/ns/e";
    assert!(at(&index, &format!("{inline}/192.0.2.7")).unwrap().services.contains_key(name));
    assert!(at(&index, &format!("{inline}/10.244.1.3")).is_none(), "it is a pod's");
    let machine = at(&index, "Kubernetes/networking.istio.io/WorkloadEntry/ns/w").unwrap();
    assert_eq!((machine.service_account.as_str(), machine.capacity), ("vm", Some(3)));
    assert_eq!(machine.locality.as_ref().unwrap().zone, "z");
    assert!(machine.services.contains_key(name));
    let Some(TrafficObject::ServiceEntry(entry)) = object(&index, "ServiceEntry/ns/e") else {
        unreachable!()
    };
    assert_eq!(entry.endpoints.len(), 3, "with that of the WorkloadEntry");
    index.apply([Change::Remove(Key::new(InputKind::ServiceEntry, "ns", "e"))]);
    assert!(workload(&index, "a").unwrap().services.is_empty());
    assert!(index.output().addresses().get(name).is_none() && index.output().traffic().is_empty());
}

#[test]
fn an_entry_that_agents_resolve_announces_its_host_and_no_endpoints() {
    let index = built([put(InputKind::ServiceEntry, "e", |key| {
        entry(key, "x.example.com", "", &["192.0.2.7"], false)
    })]);
    assert!(object(&index, "ServiceEntry/ns/e").is_some());
    let announced: Vec<_> = index.output().addresses().iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        announced,
        ["ns/x.example.com"],
        "its virtual address; where the endpoints are the agents find out"
    );
}

/// Prints how long 10,000 routes take; the bounds are far above what is seen even without optimisation.
#[test]
fn ten_thousand_routes_and_an_object_of_a_megabyte_do_not_stall() {
    let many: Vec<_> = (0..15_000).map(|_| backend("ns", "b", 80)).collect();
    let routes = (0..10_000).map(|n| {
        put(InputKind::HttpRoute, &format!("r{n}"), |key| route(key, ("ns", "s"), &[backend("ns", "b", 80)]))
    });
    let huge = put(InputKind::HttpRoute, "huge", |key| route(key, ("ns", "s"), &many));
    let services = ["s", "b"].map(|name| service(name, "app=a", TargetPort::Number(80)));
    let begun = Instant::now();
    let mut index = built(services.into_iter().chain(routes).chain([huge]));
    let all = begun.elapsed();
    assert_eq!(index.output().traffic().len(), 10_001);
    let begun = Instant::now();
    index.apply([service("b", "app=c", TargetPort::Number(80))]);
    index.apply([put(InputKind::HttpRoute, "r7", |key| route(key, ("ns", "s"), &[]))]);
    let one = begun.elapsed();
    let before = index.output().clone();
    index.apply([put(InputKind::HttpRoute, "r8", |key| route(key, ("ns", "s"), &[]))]);
    assert_eq!(index.output().traffic().changes() - before.traffic().changes(), 1);
    println!(
        "10,000 routes and one of 15,000 backends: {all:?}; a Service's selector and one route: {one:?}"
    );
    assert!(one.as_millis() < 100, "{one:?}");
}

#[test]
fn a_private_key_goes_to_the_nodes_of_its_namespace_alone() {
    let rule = put(InputKind::DestinationRule, "d", |key| keyed(key, "c"));
    let secret = |key: &str| put(InputKind::Secret, "c", |_| secret(key));
    let mut index = built([namespace("ns", MESH), rule]);
    let seen = |index: &Index, node: &str| {
        let resource = index.output().traffic().seen_by(node, "DestinationRule/ns/d").unwrap();
        let wire = ours::TrafficObject::decode(resource.encoded.clone()).unwrap();
        let TrafficObject::DestinationRule(rule) = serde_json::from_slice(&wire.json).unwrap() else {
            unreachable!()
        };
        let tls = rule.policy.tls.unwrap();
        (tls.private_key, tls.broken)
    };
    assert!(seen(&index, "node-1").1.unwrap().contains("Secret c is not there"));
    index.apply([secret("first-key")]);
    assert!(seen(&index, "node-1").1.unwrap().contains("namespace ns"), "it has no pod of the namespace");
    let before = index.output().traffic().changes();
    index.apply([pod("a", "", "10.244.1.2")]);
    assert!(index.output().traffic().changes() > before, "streams must look again");
    assert_eq!(seen(&index, "node-1"), (Some("first-key".into()), None));
    assert_eq!(seen(&index, "node-2").0, None);
    index.apply([secret("second-key")]);
    assert_eq!(seen(&index, "node-1").0, Some("second-key".into()));
    assert!(!format!("{index:?}").contains("second-key"), "nothing prints it");
}
