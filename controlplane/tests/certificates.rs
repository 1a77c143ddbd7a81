//! Certificates end to end: who is refused, with which code, and what is counted.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::collections::BTreeMap;

use harness::{World, eventually, pod, tls};
use heddle_proto::istio::v1::auth::IstioCertificateRequest;
use prost_types::{Struct, Value, value};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;
use tonic::Code;
use x509_parser::prelude::{FromDer, X509Certificate};

fn csr() -> String {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

fn ask(uid: &str, seconds: i64) -> IstioCertificateRequest {
    let uid = Value { kind: Some(value::Kind::StringValue(uid.into())) };
    let metadata = Struct { fields: BTreeMap::from([("PodUID".to_owned(), uid)]) };
    IstioCertificateRequest { csr: csr(), validity_duration: seconds, metadata: Some(metadata) }
}

async fn world() -> World {
    let mut world = World::start().await;
    world.namespace("ns", &json!({"istio-injection": "enabled"}));
    world.pod("a", "node-1", "10.244.1.2");
    let mut ended = pod("ended", "node-1", "10.244.1.3");
    ended["status"]["phase"] = "Succeeded".into();
    world.put(ended);
    let mut host = pod("host", "node-1", "172.30.0.11");
    host["spec"]["hostNetwork"] = true.into();
    world.put(host);
    let mut out = pod("out", "node-1", "10.244.1.4");
    out["metadata"]["labels"] = json!({"sidecar.istio.io/inject": "false"});
    world.put(out);
    world.status().await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolled_pod_of_the_node_gets_its_identity() {
    let world = world().await;
    for (asked, given) in [(0, 3600), (-5, 3600), (600, 600), (1_000_000, 7200)] {
        let response = world.certificate("secret of node-1", ask("uid-a", asked)).await.unwrap();
        assert_eq!(response.cert_chain.len(), 2);
        let (_, leaf) = x509_parser::pem::parse_x509_pem(response.cert_chain[0].as_bytes()).unwrap();
        assert_eq!(tls::sans(&leaf.contents), ["spiffe://cluster.local/ns/ns/sa/sa"]);
        let der = leaf.contents;
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
        assert_eq!(life, given + given.min(300), "asked for {asked}");
        let root = std::fs::read_to_string(world.path("root.pem")).unwrap();
        assert_eq!(response.cert_chain[1], root);
        tls::verify(&der, &root);
    }
    assert!(world.metrics().await.contains("certificate_requests_total{result=\"issued\"} 4"));
    eventually("counted", || async { world.status().await["agents"][0]["certificates"] == 4 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_else_is_refused_and_counted() {
    let world = world().await;
    let good = "secret of node-1";
    let rows = [
        ("secret of nobody", ask("uid-a", 60), Code::Unauthenticated, "unauthenticated"),
        ("secret of node-2", ask("uid-a", 60), Code::PermissionDenied, "other_node"),
        (good, ask("uid-b", 60), Code::PermissionDenied, "unknown_pod"),
        (good, ask("uid-ended", 60), Code::PermissionDenied, "terminal"),
        (good, ask("uid-host", 60), Code::PermissionDenied, "host_network"),
        (good, ask("uid-out", 60), Code::PermissionDenied, "not_enrolled"),
        (good, ask("", 60), Code::InvalidArgument, "no_subject"),
        (
            good,
            IstioCertificateRequest { metadata: None, ..ask("", 60) },
            Code::InvalidArgument,
            "no_subject",
        ),
        (
            good,
            IstioCertificateRequest { csr: "nonsense".into(), ..ask("uid-a", 60) },
            Code::InvalidArgument,
            "bad_request",
        ),
    ];
    let mut counts = BTreeMap::new();
    for (token, request, code, label) in rows {
        let refused = world.certificate(token, request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{label}: {refused}");
        *counts.entry(label).or_insert(0) += 1;
    }
    let metrics = world.metrics().await;
    for (label, count) in counts {
        let line = format!("heddle_controller_certificate_requests_total{{result=\"{label}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    assert!(!metrics.contains("issued"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_ends_or_leaves_gets_no_more_certificates() {
    let mut world = world().await;
    assert!(world.certificate("secret of node-1", ask("uid-a", 60)).await.is_ok());
    world.remove("pods.core", Some("ns"), "a");
    world.status().await;
    let refused = world.certificate("secret of node-1", ask("uid-a", 60)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    world.tokens(&["node-2"]);
    world.pod("a", "node-1", "10.244.1.2");
    world.status().await;
    let refused = world.certificate("secret of node-1", ask("uid-a", 60)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "its token was revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_cannot_ask_without_end() {
    let world = world().await;
    let (mut issued, mut limited) = (0, 0);
    let begun = std::time::Instant::now();
    while limited == 0 && begun.elapsed().as_secs() < 30 {
        let calls = (0..50).map(|_| world.certificate("secret of node-1", ask("uid-b", 60)));
        for result in futures_util::future::join_all(calls).await {
            match result.unwrap_err().code() {
                Code::ResourceExhausted => limited += 1,
                _ => issued += 1,
            }
        }
    }
    assert!(limited > 0 && issued >= 500, "{issued} {limited}");
    let other = world.certificate("secret of node-2", ask("uid-b", 60)).await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied, "another node is not held up");
}
