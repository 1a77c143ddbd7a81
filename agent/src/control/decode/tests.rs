//! What is refused, and in which words; what is read, and as what.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use heddle_core::policy::Action;
use heddle_core::workload::Tunnel;
use heddle_proto::heddle::v1 as ours;
use heddle_proto::istio::{security, workload as wds};
use heddle_proto::type_url;
use prost::Message;

use super::*;

fn any(url: &str, content: &impl Message) -> Option<prost_types::Any> {
    Some(prost_types::Any { type_url: url.to_owned(), value: content.encode_to_vec() })
}

fn decode(kind: Kind, name: &str, content: &impl Message) -> Result<Change, String> {
    let wire = Resource { name: name.to_owned(), resource: any(kind.url(), content), ..Default::default() };
    resource(kind, &wire, "cluster.local")
}

fn pod(change: impl FnOnce(&mut wds::Workload)) -> Result<Change, String> {
    let mut pod = wds::Workload {
        uid: "c//Pod/default/a".to_owned(),
        name: "a".to_owned(),
        namespace: "default".to_owned(),
        addresses: vec![vec![10, 244, 1, 2]],
        ..Default::default()
    };
    change(&mut pod);
    let address = wds::Address { r#type: Some(wds::address::Type::Workload(pod)) };
    decode(Kind::Address, "c//Pod/default/a", &address)
}

fn policy(change: impl FnOnce(&mut security::Match)) -> Result<Change, String> {
    let mut fields = security::Match::default();
    change(&mut fields);
    let policy = security::Authorization {
        name: "p".to_owned(),
        namespace: "default".to_owned(),
        rules: vec![security::Rule { clauses: vec![security::Clause { matches: vec![fields] }] }],
        ..Default::default()
    };
    decode(Kind::Authorization, "default/p", &policy)
}

#[test]
fn a_workload_of_istio_gets_the_defaults_of_the_mesh() {
    let Change::Workload(read) = pod(|_| {}).unwrap() else { panic!("not a workload") };
    assert_eq!(read.identity.to_string(), "spiffe://cluster.local/ns/default/sa/default");
    assert_eq!((&*read.workload_name, &*read.canonical_name), ("a", "a"));
    assert_eq!((&*read.canonical_revision, read.tunnel, read.healthy), ("latest", Tunnel::None, true));
}

#[test]
fn the_extension_brings_ports_in_clear_and_every_policy() {
    let ours = ours::WorkloadExtension {
        plaintext_ports: vec![9090, 80, 80],
        authorization_policies: vec!["default/p".to_owned()],
        ..Default::default()
    };
    let extension = |config| wds::Extension { name: type_url::WORKLOAD_EXTENSION.to_owned(), config };
    let read = pod(|pod| {
        pod.tunnel_protocol = 1;
        pod.extensions = vec![extension(any(type_url::WORKLOAD_EXTENSION_URL, &ours))];
    });
    let Change::Workload(read) = read.unwrap() else { panic!("not a workload") };
    assert_eq!(&*read.plaintext_ports, [80, 9090]);
    assert!(read.tunnels(443) && !read.tunnels(80));
    assert_eq!(read.policies[0].as_str(), "default/p");
    let empty = pod(|pod| pod.extensions = vec![extension(None)]);
    assert!(
        empty.unwrap_err().contains("no content of its type"),
        "an extension that is lost loses its policies"
    );
}

#[test]
fn hostile_workloads_are_refused_in_words() {
    let refused = |change: fn(&mut wds::Workload)| pod(change).unwrap_err();
    assert!(refused(|pod| pod.addresses = vec![vec![1; 5]]).contains("5 bytes"));
    assert!(refused(|pod| pod.tunnel_protocol = 9).contains("tunnel protocol 9"));
    assert!(refused(|pod| pod.status = 7).contains("status 7"));
    assert!(refused(|pod| pod.trust_domain = "A/b".to_owned()).contains("trust domain"));
    assert!(refused(|pod| pod.uid = "other".to_owned()).contains("its content is that of 'other'"));
    assert!(refused(|pod| pod.authorization_policies = vec!["p".to_owned()]).contains("<namespace>/<name>"));
    assert!(
        refused(|pod| {
            let port = wds::Port { service_port: 70_000, target_port: 80, ..Default::default() };
            pod.services.insert("default/a.default".to_owned(), wds::PortList { ports: vec![port] });
        })
        .contains("70000 is not a port")
    );
}

#[test]
fn a_policy_that_cannot_be_judged_is_refused_and_a_dry_run_enforces_nothing() {
    assert!(policy(|_| {}).is_ok());
    assert!(policy(|m| m.principals = vec![security::StringMatch::default()]).is_err());
    assert!(policy(|m| m.destination_ports = vec![65_536]).is_err());
    assert!(
        policy(|m| m.source_ips = vec![security::Address { address: vec![10, 0, 0, 0], length: 33 }])
            .is_err()
    );
    let unknown = wds::Extension { name: "cel".to_owned(), config: None };
    assert_eq!(policy(|m| m.extensions = vec![unknown]).unwrap_err(), "condition 'cel' is not known");

    let dry = security::Authorization {
        name: "p".to_owned(),
        namespace: "default".to_owned(),
        dry_run: true,
        rules: vec![security::Rule::default()],
        ..Default::default()
    };
    let Change::Policy(read) = decode(Kind::Authorization, "default/p", &dry).unwrap() else {
        panic!("not a policy")
    };
    assert_eq!((read.action, read.rules.len()), (Action::Deny, 0));
}

#[test]
fn a_mesh_without_roots_and_a_pod_whose_uid_is_a_path_are_refused() {
    let mesh = ours::Mesh { trust_domain: "cluster.local".to_owned(), ..Default::default() };
    assert!(decode(Kind::Mesh, "mesh", &mesh).unwrap_err().starts_with("its trust bundle"));
    let local = ours::LocalWorkload {
        pod_uid: "../x".to_owned(),
        workload_uid: "w".to_owned(),
        namespace: "default".to_owned(),
        name: "a".to_owned(),
        service_account: "default".to_owned(),
        mtls_mode: 3,
        ..Default::default()
    };
    assert!(decode(Kind::LocalWorkload, "../x", &local).unwrap_err().contains("not the UID of a pod"));
}

#[test]
fn content_of_another_type_is_refused() {
    let wire = Resource {
        name: "mesh".to_owned(),
        resource: any(type_url::ADDRESS, &wds::Address::default()),
        ..Default::default()
    };
    assert!(resource(Kind::Mesh, &wire, "cluster.local").unwrap_err().contains("on a stream of"));
    let empty = Resource { name: "mesh".to_owned(), ..Default::default() };
    assert_eq!(resource(Kind::Mesh, &empty, "cluster.local").unwrap_err(), "it has no content");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, name: String) {
        for kind in Kind::ALL {
            let content = prost_types::Any { type_url: kind.url().to_owned(), value: bytes.clone() };
            let wire = Resource { name: name.clone(), resource: Some(content), ..Default::default() };
            let _refused = resource(kind, &wire, "cluster.local");
        }
    }
}
