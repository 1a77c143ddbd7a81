//! Rights that lack: said by name, waited for, and never taken for an empty cluster.
#![allow(clippy::unwrap_used, reason = "tests")]

use heddle_controlplane::rights;
use serde_json::Value;

use crate::world::{HOME, World, ask, pod};

/// All roles without one verb on one resource.
fn without(verb: &str, resource: &str) -> Vec<Value> {
    let mut roles = rights::roles();
    for role in &mut roles {
        for rule in role["rules"].as_array_mut().into_iter().flatten() {
            if rule["resources"][0] == resource {
                rule["verbs"].as_array_mut().unwrap().retain(|held| held != verb);
            }
        }
    }
    roles
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_lacks_is_named_and_once_it_is_granted_the_controller_goes_on() {
    let rows = [
        (
            "create",
            "tokenreviews",
            "cannot create resource \"tokenreviews\" in API group \"authentication.k8s.io\"",
        ),
        (
            "get",
            "secrets",
            "cannot get resource \"secrets\" in API group \"\" in the namespace \"heddle-system\"",
        ),
        (
            "create",
            "secrets",
            "cannot create resource \"secrets\" in API group \"\" in the namespace \"heddle-system\"",
        ),
        (
            "patch",
            "configmaps",
            "cannot patch resource \"configmaps\" in API group \"\" in the namespace \"heddle-system\"",
        ),
        (
            "create",
            "configmaps",
            "cannot create resource \"configmaps\" in API group \"\" in the namespace \"heddle-system\"",
        ),
    ];
    for (verb, resource, said) in rows {
        let mut world = World::prepared().await;
        for role in without(verb, resource) {
            world.double.put(role);
        }
        world.run().await;
        world.says("503", said).await;
        world.says("503", "grant it with `kubectl apply -k manifests` or `heddle install --apply`").await;
        assert!(world.get("/healthz").await.contains("200 OK"), "{verb} {resource}");
        for role in rights::roles() {
            world.double.put(role);
        }
        world.ready().await;
        let uid = world.pod(pod("a", "n1")).await;
        assert!(world.certificate(&world.token("n1"), ask(&uid)).await.is_ok(), "{verb} {resource}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_recorded_is_said_and_stops_nobody() {
    let mut world = World::prepared().await;
    for role in without("patch", "secrets") {
        world.double.put(role);
    }
    world.run().await;
    world.says("200 OK", "cannot patch resource \"secrets\"").await;
    assert!(world.roots(HOME).is_some());
}
