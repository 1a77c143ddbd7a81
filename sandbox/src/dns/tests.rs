//! Names against a store in memory.
#![allow(clippy::unwrap_used)]

use heddle_api::object::Object;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::{Value, json};

use super::answer::{self, Over};
use super::zone::Zone;
use crate::store::Store;

fn store() -> Store {
    let store = Store::in_memory().unwrap();
    let add = |value: Value| drop(store.create(Object::from_value(value).unwrap()).unwrap());
    add(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.50", "clusterIPs": ["10.96.0.50"], "ipFamilies": ["IPv4"],
                 "ports": [{"name": "http", "port": 80}]}}));
    add(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "default"},
        "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]}}));
    add(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "out", "namespace": "default"},
        "spec": {"type": "ExternalName", "externalName": "example.com"}}));
    add(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
        "endpoints": [{"addresses": ["10.244.1.2"], "hostname": "db-0", "conditions": {"ready": true}},
                      {"addresses": ["10.244.2.2"], "conditions": {"ready": true}},
                      {"addresses": ["10.244.2.3"], "conditions": {"ready": false}}],
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]}));
    store
}

fn ask(name: &str, kind: RecordType) -> Message {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let zone = Zone::of(&store());
    Message::from_vec(&answer::to(&query.to_vec().unwrap(), &zone, Over::Udp).unwrap()).unwrap()
}

fn addresses(reply: &Message) -> Vec<String> {
    reply.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn services_and_pods_have_the_addresses_that_kubernetes_gives_them() {
    let rows: [(&str, RecordType, &[&str]); 8] = [
        ("web.default.svc.cluster.local.", RecordType::A, &["10.96.0.50"]),
        ("WEB.default.svc.Cluster.local.", RecordType::A, &["10.96.0.50"]),
        ("db.default.svc.cluster.local.", RecordType::A, &["10.244.1.2", "10.244.2.2"]),
        ("db-0.db.default.svc.cluster.local.", RecordType::A, &["10.244.1.2"]),
        ("10-244-2-2.db.default.svc.cluster.local.", RecordType::A, &["10.244.2.2"]),
        ("10-244-7-7.default.pod.cluster.local.", RecordType::A, &["10.244.7.7"]),
        ("fd00-10-244-1--2.default.pod.cluster.local.", RecordType::AAAA, &["fd00:10:244:1::2"]),
        ("out.default.svc.cluster.local.", RecordType::A, &["example.com."]),
    ];
    for (name, kind, want) in rows {
        assert_eq!(addresses(&ask(name, kind)), want, "{name}");
    }
}

#[test]
fn a_name_without_such_records_is_told_from_no_name() {
    for name in ["db-0.db.default.svc.cluster.local.", "default.svc.cluster.local.", "svc.cluster.local."] {
        let reply = ask(name, RecordType::AAAA);
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(reply.answers.is_empty() && reply.authorities.len() == 1, "{name}");
    }
    for name in [
        "none.default.svc.cluster.local.",
        "web.other.svc.cluster.local.",
        "web.default.",
        "web.",
        "x.example.com.",
    ] {
        assert_eq!(ask(name, RecordType::A).metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
}

#[test]
fn named_ports_have_srv_records_with_the_addresses_beside_them() {
    let reply = ask("_sql._tcp.db.default.svc.cluster.local.", RecordType::SRV);
    assert_eq!(reply.answers.len(), 2);
    assert_eq!(reply.additionals.len(), 2);
    let RData::SRV(first) = &reply.answers[0].data else { unreachable!("asked for SRV") };
    assert_eq!((first.port, first.target.to_ascii()), (5432, "db-0.db.default.svc.cluster.local.".into()));
}

#[test]
fn bytes_that_are_no_query_get_no_reply() {
    let zone = Zone::of(&store());
    assert_eq!(answer::to(b"", &zone, Over::Udp), None);
    assert_eq!(answer::to(&[0xff; 40], &zone, Over::Tcp), None);
    assert_eq!(
        answer::to(
            &Message::response(1, hickory_proto::op::OpCode::Query).to_vec().unwrap(),
            &zone,
            Over::Udp
        ),
        None
    );
}
