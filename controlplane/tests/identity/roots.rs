//! The root certificate in every namespace.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{HOME, ROOTS, World, eventually};

fn writes(world: &World) -> usize {
    world.double.requests().iter().filter(|request| request.starts_with("patch configmaps ")).count()
}

async fn everywhere(world: &World, root: &str, namespaces: &[&str]) {
    for namespace in namespaces {
        let what = format!("the root certificate of {namespace}");
        eventually(&what, async || world.roots(namespace).as_deref() == Some(root)).await;
    }
}

fn config_map(namespace: &str, root: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": ROOTS, "namespace": namespace, "labels": labels}, "data": {"root-cert.pem": root}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_put_back_when_it_is_changed_or_deleted_and_a_new_namespace_has_it_at_once() {
    let world = World::start().await;
    let root = world.roots(HOME).unwrap();
    everywhere(&world, &root, &["default", "kube-system", "ns"]).await;
    let kept = world.double.get("configmaps", "ns", ROOTS).unwrap();
    assert_eq!(kept["metadata"]["labels"]["app.kubernetes.io/managed-by"], "heddle");
    assert_eq!(kept["metadata"]["managedFields"][0]["manager"], "heddle-controller");

    world.double.put(config_map("ns", "something else", &json!({"mine": "yes"})));
    everywhere(&world, &root, &["ns"]).await;
    let kept = world.double.get("configmaps", "ns", ROOTS).unwrap();
    assert_eq!(kept["metadata"]["labels"]["mine"], "yes", "what others wrote stays");
    assert!(world.double.remove("configmaps", "ns", ROOTS));
    everywhere(&world, &root, &["ns"]).await;

    world.double.namespace("new", &json!({}));
    everywhere(&world, &root, &["new"]).await;
    assert_eq!(world.double.denied(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_ends_gets_none_and_a_controller_that_starts_again_writes_nothing() {
    let mut world = World::start().await;
    let root = world.roots(HOME).unwrap();
    everywhere(&world, &root, &["default", "kube-system", "ns"]).await;
    let mut ending = world.double.namespace("ending", &json!({}));
    everywhere(&world, &root, &["ending"]).await;
    ending["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z".into();
    ending["metadata"]["finalizers"] = json!(["test/waits"]);
    world.double.put(ending);
    eventually("it is empty", async || world.roots("ending").is_none()).await;
    let before = writes(&world);
    world.restart().await;
    world.ready().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(writes(&world), before);
    assert_eq!(world.roots("ending"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_namespaces_are_written_once_each_at_fifty_a_second_and_home_comes_first() {
    let mut world = World::prepared().await;
    for number in 0..300 {
        world.double.namespace(&format!("a{number:03}"), &json!({}));
    }
    let begun = Instant::now();
    world.run().await;
    world.ready().await;
    assert_eq!(world.roots("a299"), None, "ready does not wait for all");
    let root = world.roots(HOME).unwrap();
    let first = world.double.requests().into_iter().find(|request| request.starts_with("patch configmaps "));
    assert!(first.as_ref().is_some_and(|request| request.contains(HOME)), "{first:?}");
    everywhere(&world, &root, &["a299"]).await;
    everywhere(&world, &root, &["a000", "ns"]).await;
    assert!(begun.elapsed() > Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(writes(&world), 300 + 4);
    let lists = world.double.requests().into_iter().filter(|request| request.contains("configmaps"));
    let whole: Vec<String> = lists.filter(|request| request.ends_with("configmaps /")).collect();
    assert!(whole.is_empty(), "of ConfigMaps only those of a name are asked for: {whole:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_istiods_are_left_to_it_and_a_fight_over_our_own_namespace_ends() {
    let world = World::start().await;
    let root = world.roots(HOME).unwrap();
    let theirs = json!({"istio.io/config": "true"});
    world.double.namespace("sidecars", &json!({}));
    everywhere(&world, &root, &["sidecars"]).await;
    world.double.put(config_map("sidecars", "istiod's root", &theirs));
    world.says("200 OK", "in 1 namespaces an istiod keeps its own root").await;
    // One that says the same as we do is nobody's quarrel.
    world.double.put(config_map("ns", &root, &theirs));
    let before = writes(&world);
    for _ in 0..20 {
        world.double.put(config_map(HOME, "istiod's root", &theirs));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.says("200 OK", "somebody else writes it again and again in heddle-system").await;
    assert_eq!(world.roots("sidecars").as_deref(), Some("istiod's root"));
    let fought = writes(&world) - before;
    assert!((5..=7).contains(&fought), "{fought}");
}
