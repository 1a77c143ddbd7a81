//! Where requests are seen, and who sees a service.

use super::*;

#[test]
fn l7_is_what_the_pod_says_else_its_namespace_else_the_mesh() {
    let mesh = |l7| {
        let config = MeshConfigInput { l7, ..MeshConfigInput::default() };
        Change::Put(
            Key::new(InputKind::MeshConfig, "heddle-system", "heddle"),
            Input::MeshConfig(Box::new(config)),
        )
    };
    let mut index = built([namespace("ns", MESH), pod("a", "", "10.244.1.2")]);
    let seen = |index: &Index| local(index, "a").unwrap().l7();
    assert_eq!(seen(&index), WireL7::L7Auto);
    index.apply([mesh(L7Mode::Rules)]);
    assert_eq!(seen(&index), WireL7::L7Rules);
    index.apply([namespace("ns", "istio-injection=enabled heddle.dev/l7=never")]);
    assert_eq!(seen(&index), WireL7::L7Never);
    index.apply([pod("a", "heddle.dev/l7=auto", "10.244.1.2")]);
    assert_eq!(seen(&index), WireL7::L7Auto);
    index.apply([pod("a", "heddle.dev/l7=nonsense", "10.244.1.2")]);
    assert_eq!(seen(&index), WireL7::L7Never, "what nobody knows says nothing");
}

#[test]
fn a_service_says_where_requests_are_seen_and_who_sees_it() {
    let Change::Put(key, Input::Service(plain)) = service("s", "app=a", TargetPort::Number(80)) else {
        unreachable!()
    };
    let said = |input: ServiceInput, namespace_says: &str| {
        let index = built([namespace("ns", namespace_says), Change::Put(key.clone(), Input::Service(input))]);
        let resource = index.output().addresses().get("ns/s.ns.svc.cluster.local").unwrap();
        let Some(Type::Service(service)) = Address::decode(resource.encoded.clone()).unwrap().r#type else {
            unreachable!()
        };
        let ours = service.extensions.first()?.config.clone().unwrap();
        Some(ServiceExtension::decode(ours.value.as_ref()).unwrap())
    };
    assert_eq!(said(plain.clone(), ""), None);
    let never = ServiceInput { l7: Some(L7Mode::Never), ..plain.clone() };
    assert_eq!(said(never, "heddle.dev/l7=rules").unwrap().l7, Some(WireL7::L7Never.into()));
    assert_eq!(said(plain.clone(), "heddle.dev/l7=rules").unwrap().l7, Some(WireL7::L7Rules.into()));
    let export = |words: &[&str]| {
        let export_to = words.iter().map(|word| (*word).to_owned()).collect();
        said(ServiceInput { export_to, ..plain.clone() }, "").map(|said| said.export_to)
    };
    assert_eq!(export(&["*", "x"]), None);
    assert_eq!(export(&[".", "x"]).unwrap(), ["ns", "x"]);
    assert_eq!(export(&["~"]).unwrap(), ["~"], "no namespace has this name");
}

#[test]
fn a_service_prefers_what_it_says_else_what_its_namespace_says() {
    use heddle_proto::istio::workload::load_balancing::{Mode, Scope};
    let Change::Put(key, Input::Service(plain)) = service("s", "app=a", TargetPort::Number(80)) else {
        unreachable!()
    };
    let said = |input: ServiceInput, distribution: Option<Distribution>| {
        let spaces = NamespaceInput { distribution, ..NamespaceInput::default() };
        let space = Change::Put(Key::new(InputKind::Namespace, "", "ns"), Input::Namespace(spaces));
        let index = built([space, Change::Put(key.clone(), Input::Service(input))]);
        let resource = index.output().addresses().get("ns/s.ns.svc.cluster.local").unwrap();
        let Some(Type::Service(service)) = Address::decode(resource.encoded.clone()).unwrap().r#type else {
            unreachable!()
        };
        service.load_balancing.map(|said| (said.mode(), said.routing_preference().collect::<Vec<_>>()))
    };
    let zone = vec![Scope::Network, Scope::Region, Scope::Zone];
    let own = |distribution| ServiceInput { distribution: Some(distribution), ..plain.clone() };
    assert_eq!(said(plain.clone(), None), None);
    assert_eq!(said(own(Distribution::SameZone), None), Some((Mode::Failover, zone.clone())));
    assert_eq!(said(plain.clone(), Some(Distribution::SameZone)), Some((Mode::Failover, zone.clone())));
    assert_eq!(said(own(Distribution::Any), Some(Distribution::SameZone)), None, "it has the last word");
    let node = [zone, vec![Scope::Subzone, Scope::Node]].concat();
    assert_eq!(said(own(Distribution::SameNode), None), Some((Mode::Failover, node)));
    let local = ServiceInput { local_only: true, ..own(Distribution::SameZone) };
    assert_eq!(said(local, None), Some((Mode::Strict, vec![Scope::Node])));
}

#[test]
fn a_pod_is_where_its_label_says_else_where_its_node_is() {
    let node =
        NodeInput { region: "r".into(), zone: "z".into(), subzone: "s".into(), ..NodeInput::default() };
    let node = Change::Put(Key::new(InputKind::Node, "", "node-1"), Input::Node(node));
    for (text, wanted) in [
        ("", ["r", "z", "s"]),
        ("istio-locality=a.b.c", ["a", "b", "c"]),
        ("istio-locality=a/b", ["a", "b", ""]),
        ("istio-locality=a/b.c", ["a", "b.c", ""]),
    ] {
        let index = built([node.clone(), pod("a", text, "10.244.1.2")]);
        let place = workload(&index, "a").unwrap().locality.unwrap();
        assert_eq!([place.region, place.zone, place.subzone], wanted, "{text}");
    }
}
