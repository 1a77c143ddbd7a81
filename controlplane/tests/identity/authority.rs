//! Who signs: a Secret that somebody plugs in, or one of our own, and what becomes of the mesh when it changes.
#![allow(clippy::unwrap_used, reason = "tests")]

use heddle_proto::heddle::v1::Mesh;
use prost::Message;
use rcgen::{BasicConstraints, PKCS_ECDSA_P384_SHA384};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::harness::{Agent, tls};
use crate::plugged::{self, Ca, broken, cacerts, whole};
use crate::world::{HOME, World, ask, eventually, pod};

/// A certificate of the pod, verified under what the namespace's ConfigMap says; and its issuers.
async fn issued(world: &World, uid: &str) -> Vec<String> {
    let issued = world.certificate(&world.token("n1"), ask(uid)).await.unwrap();
    let text = issued.cert_chain[..issued.cert_chain.len() - 1].concat();
    let mut chain = CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap);
    let leaf = chain.next().unwrap();
    let between: Vec<_> = chain.collect();
    tls::verify_chain(&leaf, &between, &world.roots(HOME).unwrap());
    assert_eq!(tls::sans(&leaf), ["spiffe://cluster.local/ns/ns/sa/sa"]);
    issued.cert_chain[1..].to_vec()
}

fn secrets(world: &World) -> Vec<String> {
    let all = world.double.list("secrets");
    all.iter().map(|secret| secret["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_that_start_together_end_with_one_root_which_outlives_them() {
    let (mut first, mut second) = (World::prepared().await, World::prepared().await);
    second.double = first.double.clone();
    tokio::join!(first.run(), second.run());
    first.ready().await;
    second.ready().await;
    let uid = first.pod(pod("a", "n1")).await;
    second.settled().await;
    let root = issued(&first, &uid).await;
    assert_eq!(root, issued(&second, &uid).await);
    assert_eq!(secrets(&first), ["heddle-ca", "heddle-roots"]);
    second.stop().await;
    first.restart().await;
    first.ready().await;
    first.settled().await;
    assert_eq!(root, issued(&first, &uid).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intermediate_is_plugged_in_as_istio_has_it_and_its_chain_goes_with_every_certificate() {
    let root = Ca::root("root");
    let rsa = root.intermediate("rsa");
    let p384 = root.below(plugged::params("p384", BasicConstraints::Constrained(0)), &PKCS_ECDSA_P384_SHA384);
    let top = root.below(plugged::params("top", BasicConstraints::Unconstrained), &PKCS_ECDSA_P384_SHA384);
    let low = top.intermediate("low");
    let rows = [
        ("RSA, PKCS #8", whole(HOME, &root, &rsa), vec![rsa.pem.clone()]),
        ("in Istio's namespace", whole("istio-system", &root, &rsa), vec![rsa.pem.clone()]),
        ("RSA, PKCS #1", cacerts(HOME, &rsa.pem, &rsa.old_key(), &rsa.pem, &root.pem), vec![rsa.pem.clone()]),
        (
            "P-384, SEC 1",
            cacerts(HOME, &p384.pem, &p384.old_key(), &p384.pem, &root.pem),
            vec![p384.pem.clone()],
        ),
        (
            "a chain without its own",
            cacerts(HOME, &p384.pem, &p384.key, "", &root.pem),
            vec![p384.pem.clone()],
        ),
        (
            "two of them",
            cacerts(HOME, &low.pem, &low.key, &format!("{}{}{}", low.pem, top.pem, root.pem), &root.pem),
            vec![low.pem.clone(), top.pem.clone()],
        ),
        ("a root", cacerts(HOME, &root.pem, &root.key, &root.pem, &root.pem), vec![]),
        ("a root by itself", cacerts(HOME, &root.pem, &root.key, "", &root.pem), vec![]),
    ];
    for (name, secret, between) in rows {
        let mut world = World::prepared().await;
        world.double.namespace("istio-system", &serde_json::json!({}));
        world.double.put(secret);
        world.run().await;
        world.ready().await;
        let uid = world.pod(pod("a", "n1")).await;
        let chain = issued(&world, &uid).await;
        assert_eq!(chain[..chain.len() - 1], between, "{name}");
        assert_eq!(chain.last(), Some(&root.pem), "{name}");
        assert_eq!(world.roots(HOME).as_ref(), Some(&root.pem), "{name}");
        assert!(!secrets(&world).contains(&"heddle-ca".to_owned()), "{name}: none of our own is made");
        assert_eq!(world.double.denied(), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_secret_is_named_with_its_key_and_neither_served_nor_replaced() {
    let mut world = World::prepared().await;
    let rows = broken();
    world.double.put(rows[0].1.clone());
    world.run().await;
    for (name, secret, key, what) in rows {
        world.double.put(secret);
        let text = format!("Secret heddle-system/cacerts, key {key}: ");
        eventually(name, async || {
            let said = world.get("/readyz").await;
            said.contains("503") && said.lines().any(|line| line.contains(&text) && line.contains(what))
        })
        .await;
    }
    assert!(world.get("/healthz").await.contains("200 OK"));
    assert_eq!(secrets(&world), ["cacerts"]);
    assert_eq!(world.roots(HOME), None);
    let root = Ca::root("root");
    world.double.put(whole(HOME, &root, &root.intermediate("middle")));
    world.ready().await;
    // From now on a broken one changes nothing but what is said.
    let uid = world.pod(pod("a", "n1")).await;
    let before = issued(&world, &uid).await;
    for (_, secret, key, _) in broken() {
        world.double.put(secret);
        world.says("200 OK", &format!("key {key}: ")).await;
        assert_eq!(issued(&world, &uid).await, before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_secret_is_put_back_and_the_loss_of_a_plugged_one_is_said_and_survived() {
    let mut world = World::start().await;
    let uid = world.pod(pod("a", "n1")).await;
    let (before, held) = (issued(&world, &uid).await, world.secret(HOME, "heddle-ca"));
    assert!(world.double.remove("secrets", HOME, "heddle-ca"));
    eventually("it is put back", async || world.secret(HOME, "heddle-ca") == held).await;
    assert_eq!(issued(&world, &uid).await, before);
    world.stop().await;

    let mut world = World::prepared().await;
    let root = Ca::root("root");
    world.double.put(whole(HOME, &root, &root.intermediate("middle")));
    world.run().await;
    world.ready().await;
    let uid = world.pod(pod("a", "n1")).await;
    let before = issued(&world, &uid).await;
    assert!(world.double.remove("secrets", HOME, "cacerts"));
    world.says("200 OK", "Secret heddle-system/cacerts is gone").await;
    assert_eq!(issued(&world, &uid).await, before);
    // After a restart nobody has the key any more, and pods trust its root: no other is made behind their backs.
    world.restart().await;
    world.says("503", "no Secret holds a certificate authority any more").await;
    assert_eq!(secrets(&world), ["heddle-roots"]);
    assert!(world.double.remove("secrets", HOME, "heddle-roots"));
    world.ready().await;
    eventually("another root", async || secrets(&world) == ["heddle-ca", "heddle-roots"]).await;
}

/// The roots that an agent is told.
async fn told(agent: &mut Agent) -> Vec<String> {
    loop {
        let response = agent.next().await.unwrap();
        agent.ack(&response).await;
        if response.type_url == heddle_proto::type_url::MESH {
            let any = response.resources[0].resource.as_ref().unwrap();
            return Mesh::decode(any.value.as_ref()).unwrap().trust_bundle;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_root_is_told_to_agents_and_namespaces_before_it_signs_and_the_old_one_stays_over_restarts() {
    let mut world = World::start().await;
    let uid = world.pod(pod("a", "n1")).await;
    let old = world.roots(HOME).unwrap();
    let mut agent = Agent::open_as(world.channel(), "n1", &world.token("n1")).await.unwrap();
    assert_eq!(told(&mut agent).await, std::slice::from_ref(&old));

    let root = Ca::root("new");
    world.double.put(whole(HOME, &root, &root.intermediate("middle")));
    let both = [old.clone(), root.pem.clone()];
    assert_eq!(told(&mut agent).await, both);
    assert_eq!(issued(&world, &uid).await, [both.concat()], "the old one signs on");
    let turned = [root.pem.clone(), old.clone()];
    assert_eq!(told(&mut agent).await, turned);
    for namespace in [HOME, "ns"] {
        eventually("in ConfigMaps too", async || world.roots(namespace) == Some(turned.concat())).await;
    }
    assert_eq!(issued(&world, &uid).await.last(), Some(&turned.concat()));
    drop(agent);

    world.restart().await;
    world.ready().await;
    world.settled().await;
    assert_eq!(
        issued(&world, &uid).await.last(),
        Some(&turned.concat()),
        "certificates of the old root live on"
    );
    assert_eq!(world.double.denied(), Vec::<String>::new());
}
