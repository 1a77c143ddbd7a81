//! Objects about traffic on their way from a file to an agent, and back as status.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use harness::{Held, World, eventually};
use heddle_core::object::TrafficObject;
use heddle_proto::discovery::DeltaDiscoveryResponse;
use heddle_proto::heddle::v1 as ours;
use heddle_proto::type_url::TRAFFIC;
use prost::Message;
use serde_json::{Value, json};

mod harness;

const SERVICES: &str = "virtualservices.networking.istio.io";

fn virtual_service(weights: &Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "v", "namespace": "ns", "generation": 2},
        "spec": {"hosts": ["reviews"], "http": [{"route": weights}]}})
}

fn object(response: &DeltaDiscoveryResponse) -> TrafficObject {
    let any = response.resources[0].resource.as_ref().unwrap();
    let wire = ours::TrafficObject::decode(any.value.as_ref()).unwrap();
    serde_json::from_slice(&wire.json).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_virtual_service_reaches_agents_and_the_last_good_one_stays() {
    let mut world = World::start().await;
    world.status().await;
    let mut agent = world.agent("node-1", &Held::new()).await.unwrap();
    agent.settle().await;
    world.put(virtual_service(&json!([{"destination": {"host": "reviews", "subset": "v1"}}])));
    let response = agent.next().await.unwrap();
    assert_eq!(response.type_url, TRAFFIC);
    let TrafficObject::Route(route) = object(&response) else { panic!("no route") };
    assert_eq!((route.source.to_string().as_str(), route.http.len()), ("VirtualService ns/v", 1));
    agent.ack(&response).await;
    let condition = |world: &World| world.condition(SERVICES, "ns", "v");
    eventually("accepted", || async { condition(&world).is_some_and(|c| c["status"] == "True") }).await;
    assert_eq!(condition(&world).unwrap()["observedGeneration"], 2);
    let messages = || {
        let path = world.path("status").join(SERVICES).join("ns/v.json");
        let status: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        status["validationMessages"].to_string()
    };
    eventually("analysed", || async { messages().contains("IST0101") && messages().contains("reviews") })
        .await;

    world.put(virtual_service(&json!([{"destination": {"hots": "reviews"}}])));
    eventually("invalid", || async { condition(&world).is_some_and(|c| c["reason"] == "Invalid") }).await;
    let message = condition(&world).unwrap()["message"].to_string();
    assert!(message.contains("spec.http[0].route[0].destination") && message.contains("host"), "{message}");
    let other = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "w", "namespace": "ns"}, "spec": {"hosts": ["ratings"], "http": []}});
    let mut other = other;
    other["spec"]["http"] = json!([{"route": [{"destination": {"host": "ratings"}}]}]);
    world.put(other);
    let response = agent.next().await.unwrap();
    assert_eq!(response.resources[0].name, "VirtualService/ns/w", "nothing was said of the broken one");
    assert!(response.removed_resources.is_empty());
    agent.ack(&response).await;

    world.remove(SERVICES, Some("ns"), "v");
    let response = agent.next().await.unwrap();
    assert_eq!(response.removed_resources, ["VirtualService/ns/v"]);
    eventually("forgotten", || async { condition(&world).is_none() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_api_route_says_of_each_parent_what_it_makes_of_it() {
    let mut world = World::start().await;
    world.status().await;
    let mut agent = world.agent("node-1", &Held::new()).await.unwrap();
    agent.settle().await;
    let route = |backend: &Value| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "r", "namespace": "ns", "generation": 4},
            "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "s"}],
                "rules": [{"backendRefs": [backend]}]}})
    };
    let parent = |world: &World| -> Option<Value> {
        let path = world.path("status/httproutes.gateway.networking.k8s.io/ns/r.json");
        let status: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        Some(status["parents"][0].clone())
    };
    let said = |world: &World, accepted: &str, resolved: &str| {
        let reasons = parent(world).map(|parent| {
            [0, 1].map(|at| parent["conditions"][at]["reason"].as_str().unwrap_or_default().to_owned())
        });
        reasons.is_some_and(|reasons| reasons == [accepted, resolved])
    };
    world.put(route(&json!({"name": "s", "port": 80})));
    eventually("no parent", || async { said(&world, "NoMatchingParent", "BackendNotFound") }).await;
    world.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "ns"},
        "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}], "selector": {"app": "s"}}}));
    eventually("accepted", || async { said(&world, "Accepted", "ResolvedRefs") }).await;
    assert_eq!(parent(&world).unwrap()["conditions"][0]["observedGeneration"], 4);
    loop {
        let response = agent.next().await.unwrap();
        agent.ack(&response).await;
        if response.type_url == TRAFFIC {
            assert_eq!(response.resources[0].name, "HTTPRoute/ns/r");
            break;
        }
    }
    world.put(route(&json!({"kind": "Bucket", "group": "x", "name": "s"})));
    eventually("of no kind", || async { said(&world, "Accepted", "InvalidKind") }).await;
    world.put(route(&json!({"name": "s", "port": 80, "weight": -1})));
    eventually("refused", || async { said(&world, "UnsupportedValue", "ResolvedRefs") }).await;
    world.remove("httproutes.gateway.networking.k8s.io", Some("ns"), "r");
    eventually("forgotten", || async { parent(&world).is_none() }).await;
}
