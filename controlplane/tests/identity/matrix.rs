//! Everything that could be wrong, tried: nothing of it is signed. And what is right is signed with one name.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use tonic::Code;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::harness::{Agent, tls};
use crate::world::{HOME, World, ask, impersonate, pod, with};
use crate::{requests, tokens};

/// How many requests were refused, and the certificates that were signed all the same.
#[derive(Default)]
struct Tally {
    refused: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn note<T>(&mut self, what: &str, code: Code, result: Result<T, tonic::Status>) {
        match result {
            Err(status) if status.code() == code => self.refused += 1,
            Err(status) => self.wrong.push(format!("{what}: {code:?} was expected: {status}")),
            Ok(_) => self.wrong.push(format!("{what}: not refused")),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_wrong_requests_and_more_none_is_signed() {
    let world = World::start().await;
    let uid = world.pod(pod("a", "n1")).await;
    let identity = "spiffe://cluster.local/ns/ns/sa/sa";
    let mut tally = Tally::default();
    let wrong = tokens::wrong(&world).await;
    let mut labels: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, token, label) in &wrong {
        let by_uid = world.certificate(token, ask(&uid)).await;
        tally.note(&format!("token {name}, a pod"), Code::Unauthenticated, by_uid);
        let by_identity = world.certificate(token, impersonate(identity)).await;
        tally.note(&format!("token {name}, an identity"), Code::Unauthenticated, by_identity);
        let stream = Agent::open_as(world.channel(), "n1", token).await;
        tally.note(&format!("token {name}, a stream"), Code::Unauthenticated, stream);
        *labels.entry(label).or_default() += 3;
    }
    let good = world.token("n1");
    for (name, request, code) in requests::wrong_subjects(&world).await {
        tally.note(name, code, world.certificate(&good, request).await);
    }
    for (name, csr) in requests::wrong_keys() {
        let by_uid = world.certificate(&good, with("PodUID", &uid, csr.clone())).await;
        tally.note(&format!("{name}, a pod"), Code::InvalidArgument, by_uid);
        let by_identity = world.certificate(&good, with("ImpersonatedIdentity", identity, csr)).await;
        tally.note(&format!("{name}, an identity"), Code::InvalidArgument, by_identity);
    }
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    assert!(tally.refused >= 200, "{}", tally.refused);
    let metrics = world.get("/metrics").await;
    for (label, count) in labels {
        let line = format!("heddle_controller_callers_total{{result=\"{label}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    assert!(!metrics.contains("certificate_requests_total{result=\"issued\"}"), "{metrics}");
    assert_eq!(world.double.denied(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_request_asks_for_its_certificate_has_one_name_and_is_no_authority() {
    let world = World::start().await;
    let uid = world.pod(pod("a", "n1")).await;
    let (token, root) = (world.token("n1"), world.roots(HOME).unwrap());
    let identity = "spiffe://cluster.local/ns/ns/sa/sa";
    for (name, csr) in requests::greedy_keys() {
        for (field, subject) in [("PodUID", &*uid), ("ImpersonatedIdentity", identity)] {
            let issued = world.certificate(&token, with(field, subject, csr.clone())).await.unwrap();
            let (_, leaf) = x509_parser::pem::parse_x509_pem(issued.cert_chain[0].as_bytes()).unwrap();
            assert_eq!(tls::sans(&leaf.contents), [identity], "{name}");
            tls::verify(&leaf.contents, &root);
            let (_, leaf) = X509Certificate::from_der(&leaf.contents).unwrap();
            assert!(!leaf.is_ca() && leaf.subject().iter().count() == 0, "{name}");
            let usage = leaf.key_usage().unwrap().unwrap().value;
            assert!(usage.digital_signature() && !usage.key_cert_sign(), "{name}");
            // Two of usages, basic constraints, the name, and the identifiers of both keys.
            assert_eq!(leaf.extensions().len(), 6, "{name}: {:?}", leaf.extensions());
        }
    }
}
