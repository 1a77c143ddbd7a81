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
