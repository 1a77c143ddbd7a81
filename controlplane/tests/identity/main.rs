//! Identity in a cluster: who is an agent, who signs, and whom everybody trusts. Over real gRPC and TLS, beside the double.
#![allow(clippy::unwrap_used, reason = "tests")]

mod authority;
mod callers;
#[path = "../harness/mod.rs"]
mod harness;
mod lacking;
mod matrix;
mod plugged;
mod requests;
mod roots;
mod tokens;
mod world;

use world::{HOME, World, ask, eventually, pod};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_the_cluster_gets_certificates_of_its_pods_with_no_right_more_than_is_listed() {
    let world = World::start().await;
    let uid = world.pod(pod("a", "n1")).await;
    let root = world.roots(HOME).unwrap();
    let issued = world.certificate(&world.token("n1"), ask(&uid)).await.unwrap();
    assert_eq!(issued.cert_chain.len(), 2);
    assert_eq!(issued.cert_chain[1], root);
    let (_, leaf) = x509_parser::pem::parse_x509_pem(issued.cert_chain[0].as_bytes()).unwrap();
    assert_eq!(harness::tls::sans(&leaf.contents), ["spiffe://cluster.local/ns/ns/sa/sa"]);
    harness::tls::verify(&leaf.contents, &root);
    for namespace in ["default", "kube-system", "ns"] {
        eventually("the root certificate", async || world.roots(namespace).as_ref() == Some(&root)).await;
    }
    assert_eq!(world.double.denied(), Vec::<String>::new());
}
