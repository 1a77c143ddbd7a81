//! Mesh-wide facts.

use heddle_proto::heddle::v1::Mesh;

use super::*;

fn mesh(index: &Index) -> Mesh {
    Mesh::decode(index.output().mesh().get("mesh").unwrap().encoded.clone()).unwrap()
}

#[test]
fn namespaces_with_pods_in_the_mesh_are_named() {
    let named = |index: &Index| mesh(index).enrolled_namespaces;
    let mut index = built([namespace("b", MESH), namespace("a", MESH), namespace("ns", "")]);
    assert_eq!(named(&index), ["a", "b"]);
    index.apply([pod("p", "heddle.dev/mesh=enabled", "10.244.1.2"), pod("q", "", "10.244.1.3")]);
    assert_eq!(named(&index), ["a", "b", "ns"], "a pod that is in it alone");
    index.apply([namespace("a", ""), pod("p", "", "10.244.1.2")]);
    assert_eq!(named(&index), ["b"]);
    index.apply([pod("p", "heddle.dev/mesh=enabled", "10.244.1.2"), namespace("ns", MESH)]);
    assert_eq!(named(&index), ["b", "ns"]);
    index.apply([namespace("ns", "")]);
    assert_eq!(named(&index), ["b", "ns"], "the pod is still in it");
    index.apply([put_pod(
        "p",
        PodInput { terminal: true, ..pod_input("p", "heddle.dev/mesh=enabled", "10.244.1.2") },
    )]);
    assert_eq!(named(&index), ["b"], "one that has ended is nowhere");
    index.apply([pod("p", "heddle.dev/mesh=enabled", "10.244.1.2")]);
    index.apply([Change::Remove(Key::new(InputKind::Pod, "ns", "p"))]);
    assert_eq!(named(&index), ["b"]);
}

#[test]
fn networks_are_those_of_the_flags_else_those_of_nodes_and_servicecidrs() {
    let node = |name: &str, cidr: &str| {
        let input = NodeInput { pod_cidrs: vec![cidr.to_owned()], ..NodeInput::default() };
        Change::Put(Key::new(InputKind::Node, "", name), Input::Node(input))
    };
    let services = Change::Put(
        Key::new(InputKind::ServiceCidr, "", "kubernetes"),
        Input::ServiceCidr(vec!["10.96.0.0/12".to_owned()]),
    );
    let objects = [node("n2", "10.1.2.0/24"), node("n1", "10.1.1.0/24"), services];
    assert_eq!(mesh(&built(objects.clone())).pod_cidrs, ["10.244.0.0/16"], "a flag says so");
    let mut index = Index::new(Settings { pod_cidrs: vec![], service_cidrs: vec![], ..settings() });
    index.apply(objects);
    assert_eq!(mesh(&index).pod_cidrs, ["10.1.1.0/24", "10.1.2.0/24"]);
    assert_eq!(mesh(&index).service_cidrs, ["10.96.0.0/12"]);
    index.apply([Change::Remove(Key::new(InputKind::Node, "", "n1"))]);
    assert_eq!(mesh(&index).pod_cidrs, ["10.1.2.0/24"]);
}
