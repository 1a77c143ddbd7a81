//! Discovery end to end: a directory, the controller, and agents over TLS.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use harness::{Held, World, eventually, urls};
use heddle_proto::discovery::DeltaDiscoveryResponse;
use heddle_proto::heddle::v1::LocalWorkload;
use heddle_proto::istio::workload::address::Type;
use heddle_proto::istio::workload::{Address, TunnelProtocol};
use heddle_proto::type_url::{ADDRESS, AUTHORIZATION, LOCAL_WORKLOAD};
use prost::Message;
use serde_json::json;

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

fn tunnel(response: &DeltaDiscoveryResponse, name: &str) -> Option<i32> {
    let resource = response.resources.iter().find(|resource| resource.name.ends_with(name))?;
    let any = resource.resource.as_ref().unwrap();
    match Address::decode(any.value.as_ref()).unwrap().r#type {
        Some(Type::Workload(workload)) => Some(workload.tunnel_protocol),
        _ => None,
    }
}

fn enrolled(response: &DeltaDiscoveryResponse) -> bool {
    let any = response.resources[0].resource.as_ref().unwrap();
    LocalWorkload::decode(any.value.as_ref()).unwrap().enrolled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_gets_the_whole_state_and_then_one_resource_for_one_edit() {
    let mut world = World::start().await;
    world.namespace("ns", &json!({"istio-injection": "enabled"}));
    world.pod("a", "node-1", "10.244.1.2");
    world.pod("b", "node-2", "10.244.2.2");
    world.status().await;
    let mut agent = world.agent("node-1", &Held::new()).await.unwrap();
    let all = agent.settle().await;
    let order: Vec<&str> = all.iter().map(|response| response.type_url.as_str()).collect();
    assert_eq!(order, urls(), "in the order of application");
    assert_eq!(names(&all[3]), ["Kubernetes//Pod/ns/a", "Kubernetes//Pod/ns/b"]);
    assert_eq!(names(&all[4]), ["uid-a"], "its own node's only");
    assert!(enrolled(&all[4]));
    assert_eq!(tunnel(&all[3], "/a"), Some(TunnelProtocol::Hbone as i32), "created in the mesh: at once");

    world.pod("b", "node-2", "10.244.2.3");
    let response = agent.next().await.unwrap();
    assert_eq!((response.type_url.as_str(), names(&response)), (ADDRESS, vec!["Kubernetes//Pod/ns/b"]));
    agent.ack(&response).await;
    assert!(agent.silent().await);
    let status = world.status().await;
    assert_eq!(status["agents"][0]["types"]["Address"]["state"], "SYNCED");
    assert_eq!(status["synced"], false, "node-2 has a token and no agent");
    let mut other = world.agent("node-2", &Held::new()).await.unwrap();
    other.settle().await;
    eventually("synced", || async { world.status().await["synced"] == true }).await;
    assert_eq!(world.status().await["resourceVersion"], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_while_the_agent_was_away_is_removed_when_it_resumes() {
    let mut world = World::start().await;
    for (name, ip) in [("a", "10.244.1.2"), ("b", "10.244.1.3"), ("c", "10.244.1.4")] {
        world.pod(name, "node-1", ip);
    }
    world.status().await;
    let mut agent = world.agent("node-1", &Held::new()).await.unwrap();
    agent.settle().await;
    let held = agent.held.clone();
    world.remove("pods.core", Some("ns"), "b");
    world.pod("c", "node-1", "10.244.1.9");
    // A controller that is started meanwhile gives the same versions; the old one ends though an agent is there.
    let begun = std::time::Instant::now();
    world.restart().await;
    assert!(begun.elapsed().as_secs() < 3, "{:?}", begun.elapsed());
    drop(agent);
    world.status().await;
    let mut agent = world.agent("node-1", &held).await.unwrap();
    let all = agent.settle().await;
    assert!(names(&all[0]).is_empty(), "the mesh did not change");
    assert_eq!(names(&all[3]), ["Kubernetes//Pod/ns/c"]);
    assert_eq!(all[3].removed_resources, ["Kubernetes//Pod/ns/b"]);
    assert_eq!((names(&all[4]).len(), all[4].removed_resources.as_slice()), (0, &["uid-b".to_owned()][..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_seen_in_the_status_until_there_is_something_better() {
    let mut world = World::start().await;
    world.tokens(&["node-1"]);
    world.status().await;
    let mut agent = world.agent("node-1", &Held::new()).await.unwrap();
    agent.settle().await;
    world.pod("a", "node-1", "10.244.1.2");
    for _ in 0..2 {
        let response = agent.next().await.unwrap();
        if response.type_url == LOCAL_WORKLOAD {
            agent.nack(&response, 3, "pod ns/a: no").await;
        } else {
            agent.ack(&response).await;
        }
    }
    let state = |status: serde_json::Value| status["agents"][0]["types"]["LocalWorkload"].clone();
    eventually("NACK", || async { state(world.status().await)["state"] == "NACK" }).await;
    let status = world.status().await;
    assert_eq!(status["synced"], false);
    assert_eq!(state(status)["error"], "pod ns/a: no");
    world.namespace("ns", &json!({"istio-injection": "enabled"}));
    loop {
        let response = agent.next().await.unwrap();
        agent.ack(&response).await;
        if response.type_url == ADDRESS {
            break;
        }
    }
    eventually("synced", || async { world.status().await["synced"] == true }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_unauthenticated_and_another_node_is_refused() {
    let world = World::start().await;
    let stranger = world.agent("node-9", &Held::new()).await.err().unwrap();
    assert_eq!(stranger.code(), tonic::Code::Unauthenticated);
    world.tokens(&["node-1", "node-2", "node-9"]);
    assert!(world.agent("node-9", &Held::new()).await.is_ok(), "tokens are read again");
    let mut liar = harness::Agent::open_as(world.channel(), "node-1", "secret of node-2").await.unwrap();
    assert_eq!(liar.next().await.unwrap_err().code(), tonic::Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_pod_is_tunnelled_to_only_once_its_node_has_captured_it() {
    let mut world = World::start().await;
    world.namespace("ns", &json!({}));
    world.pod("a", "node-1", "10.244.1.2");
    world.status().await;
    let mut here = world.agent("node-1", &Held::new()).await.unwrap();
    let mut there = world.agent("node-2", &Held::new()).await.unwrap();
    assert_eq!(tunnel(&here.settle().await[3], "/a"), Some(TunnelProtocol::None as i32));
    there.settle().await;

    world.namespace("ns", &json!({"istio-injection": "enabled"}));
    // Both learn first that the namespace is in the mesh: pods that nobody knows yet are to wait.
    assert_eq!((here.mesh().await, there.mesh().await), (vec!["ns".to_owned()], vec!["ns".to_owned()]));
    let capture = here.next().await.unwrap();
    assert_eq!(capture.type_url, LOCAL_WORKLOAD);
    assert!(enrolled(&capture));
    assert!(there.silent().await, "nobody is told to tunnel before it is captured");
    assert_eq!(world.status().await["moving"], 1);
    here.ack(&capture).await;
    let response = there.next().await.unwrap();
    assert_eq!(tunnel(&response, "/a"), Some(TunnelProtocol::Hbone as i32));
    there.ack(&response).await;
    let response = here.next().await.unwrap();
    here.ack(&response).await;
    eventually("settled", || async { world.status().await["synced"] == true }).await;

    world.namespace("ns", &json!({}));
    assert!(here.mesh().await.is_empty() && there.mesh().await.is_empty());
    let response = here.next().await.unwrap();
    assert_eq!(tunnel(&response, "/a"), Some(TunnelProtocol::None as i32), "first nobody tunnels");
    here.ack(&response).await;
    assert!(here.silent().await, "it stays captured while another agent may still tunnel");
    let response = there.next().await.unwrap();
    there.ack(&response).await;
    let release = here.next().await.unwrap();
    assert_eq!(release.type_url, LOCAL_WORKLOAD);
    assert!(!enrolled(&release));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_object_is_named_and_the_last_good_one_stays() {
    let mut world = World::start().await;
    world.tokens(&["node-1"]);
    world.pod("a", "node-1", "10.244.1.2");
    let policy = |mode: &str| {
        json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "p", "namespace": "ns"}, "spec": {"mtls": {"mode": mode}}})
    };
    world.put(policy("STRICT"));
    world.status().await;
    let mut agent = world.agent("node-1", &Held::new()).await.unwrap();
    agent.settle().await;
    let condition = |world: &World| world.condition("peerauthentications.security.istio.io", "ns", "p");
    eventually("accepted", || async { condition(&world).is_some_and(|c| c["status"] == "True") }).await;

    world.put(policy("STRCT"));
    std::fs::write(world.object("pods.core", Some("ns"), "broken"), "{\"kind\": ").unwrap();
    world.pod("b", "node-1", "10.244.1.3");
    loop {
        let response = agent.next().await.unwrap();
        assert!(response.type_url != AUTHORIZATION, "the last good one stays: nothing is denied");
        agent.ack(&response).await;
        if response.type_url == LOCAL_WORKLOAD {
            assert_eq!(names(&response), ["uid-b"]);
            break;
        }
    }
    eventually("invalid", || async { condition(&world).is_some_and(|c| c["reason"] == "Invalid") }).await;
    assert!(condition(&world).unwrap()["message"].as_str().unwrap().contains("STRICT"));
    let problems = world.status().await["problems"].to_string();
    assert!(problems.contains("broken.json") && problems.contains("ns/p"), "{problems}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_security_kind_that_is_not_served_denies_and_says_so() {
    let mut world = World::start().await;
    world.pod("a", "node-1", "10.244.1.2");
    world.status().await;
    let mut agent = world.agent("node-1", &Held::new()).await.unwrap();
    agent.settle().await;
    world.put(json!({"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
        "metadata": {"name": "p", "namespace": "ns"}, "spec": {"jwtRules": []}}));
    let response = agent.next().await.unwrap();
    assert_eq!(
        (response.type_url.as_str(), names(&response)),
        (AUTHORIZATION, vec!["ns/requestauthentication.p"])
    );
    agent.ack(&response).await;
    let path = "requestauthentications.security.istio.io";
    eventually("told", || async {
        world.condition(path, "ns", "p").is_some_and(|condition| condition["reason"] == "Unsupported")
    })
    .await;
    world.remove(path, Some("ns"), "p");
    eventually("forgotten", || async { world.condition(path, "ns", "p").is_none() }).await;
}
