//! A stream without a wire: what is sent, resent, split and removed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;

use heddle_proto::discovery::Node;
use heddle_proto::discovery::Status as Detail;

use super::*;
use crate::index::input::{Change, Input, InputKind, Key, PodInput};
use crate::index::{Index, Settings};

fn index() -> Index {
    Index::new(Settings {
        trust_domain: "cluster.local".into(),
        cluster_domain: "cluster.local".into(),
        cluster_id: "Kubernetes".into(),
        pod_cidrs: vec![],
        service_cidrs: vec![],
        trust_bundle: vec![],
    })
}

fn pod(name: &str, last: u8) -> Change {
    let key = Key::new(InputKind::Pod, "default", name);
    let pod = PodInput {
        uid: format!("uid-{name}"),
        node: "node-1".into(),
        service_account: "default".into(),
        addresses: vec![[10, 244, 1, last].into()],
        ..PodInput::default()
    };
    Change::Put(key, Input::Pod(Box::new(pod)))
}

fn published(index: &Index, sequence: u64) -> Published {
    Published { sequence, output: index.output().clone(), ..Published::default() }
}

fn first(kind: ResourceKind, held: HashMap<String, String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(Node { id: "node-1".into(), ..Node::default() }),
        type_url: kind.url().into(),
        resource_names_subscribe: vec!["*".into()],
        initial_resource_versions: held,
        ..DeltaDiscoveryRequest::default()
    }
}

fn answer(response: &DeltaDiscoveryResponse, error: Option<(i32, &str)>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: error.map(|(code, message)| Detail { code, message: message.into(), details: vec![] }),
        ..DeltaDiscoveryRequest::default()
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

/// A stream that has subscribed to addresses.
fn subscribed(now: Instant) -> StreamState {
    let mut stream = StreamState::new("node-1".into());
    stream.request(first(ResourceKind::Address, HashMap::new()), now).unwrap();
    stream
}

#[test]
fn the_first_response_comes_even_if_it_is_empty() {
    let now = Instant::now();
    let mut stream = subscribed(now);
    let responses = stream.responses(&published(&index(), 1), now);
    assert_eq!(responses.len(), 1);
    assert!(responses[0].resources.is_empty() && responses[0].removed_resources.is_empty());
    stream.request(answer(&responses[0], None), now).unwrap();
    assert!(stream.responses(&published(&index(), 1), now).is_empty());
    assert_eq!(stream.progress()[ResourceKind::Address as usize].settled, 1);
}

#[test]
fn what_changes_while_a_response_is_under_way_is_sent_once() {
    let now = Instant::now();
    let (mut stream, mut index) = (subscribed(now), index());
    index.apply([pod("a", 1)]);
    let responses = stream.responses(&published(&index, 1), now);
    index.apply([pod("a", 2)]);
    assert!(stream.responses(&published(&index, 2), now).is_empty());
    index.apply([pod("a", 3), pod("b", 4)]);
    stream.request(answer(&responses[0], None), now).unwrap();
    let responses = stream.responses(&published(&index, 3), now);
    assert_eq!(responses.len(), 1);
    assert_eq!(names(&responses[0]).len(), 2);
}

#[test]
fn a_resumed_stream_gets_changes_and_removals_only() {
    let now = Instant::now();
    let mut index = index();
    index.apply([pod("same", 1), pod("changed", 2), pod("gone", 3)]);
    let table = index.output().addresses();
    let held: HashMap<String, String> =
        table.iter().map(|(name, resource)| (name.to_string(), resource.version.to_string())).collect();
    index.apply([
        pod("changed", 9),
        pod("new", 8),
        Change::Remove(Key::new(InputKind::Pod, "default", "gone")),
    ]);
    let mut stream = StreamState::new("node-1".into());
    stream.request(first(ResourceKind::Address, held), now).unwrap();
    let responses = stream.responses(&published(&index, 1), now);
    assert_eq!(names(&responses[0]), ["Kubernetes//Pod/default/changed", "Kubernetes//Pod/default/new"]);
    assert_eq!(responses[0].removed_resources, ["Kubernetes//Pod/default/gone"]);
}

#[test]
fn one_refused_resource_does_not_hold_up_the_others() {
    let now = Instant::now();
    let (mut stream, mut index) = (subscribed(now), index());
    index.apply(["a", "b", "bad", "d", "e"].iter().zip(1..).map(|(name, last)| pod(name, last)));
    let mut taken = Vec::new();
    for _ in 0..20 {
        for response in stream.responses(&published(&index, 1), now) {
            let bad = names(&response).iter().any(|name| name.ends_with("/bad"));
            if !bad {
                taken.extend(names(&response).into_iter().map(str::to_owned));
            }
            stream.request(answer(&response, bad.then_some((3, "bad: no"))), now).unwrap();
        }
    }
    taken.sort();
    assert_eq!(taken.len(), 4, "{taken:?}");
    let progress = &stream.progress()[ResourceKind::Address as usize];
    assert_eq!(progress.refused.len(), 1);
    assert_eq!((progress.settled, progress.error.as_str()), (1, "bad: no"));
    // It is tried again later, and at once when it changes.
    assert!(stream.responses(&published(&index, 1), now).is_empty());
    assert_eq!(stream.responses(&published(&index, 1), now + RETRY).len(), 1);
}

#[test]
fn a_better_version_of_what_was_refused_is_sent_at_once() {
    let now = Instant::now();
    let (mut stream, mut index) = (subscribed(now), index());
    index.apply([pod("a", 1)]);
    let response = stream.responses(&published(&index, 1), now).remove(0);
    stream.request(answer(&response, Some((3, "no"))), now).unwrap();
    assert!(stream.responses(&published(&index, 1), now).is_empty());
    index.apply([pod("a", 2)]);
    let response = stream.responses(&published(&index, 2), now).remove(0);
    stream.request(answer(&response, None), now).unwrap();
    assert!(stream.responses(&published(&index, 2), now).is_empty());
    let progress = &stream.progress()[ResourceKind::Address as usize];
    assert!(progress.refused.is_empty() && progress.error.is_empty());
}

#[test]
fn a_pod_that_the_kernel_failed_at_is_not_sent_again_and_may_succeed_later() {
    let now = Instant::now();
    let mut stream = StreamState::new("node-1".into());
    stream.request(first(ResourceKind::LocalWorkload, HashMap::new()), now).unwrap();
    let mut index = index();
    index.apply([pod("a", 1), pod("b", 2)]);
    let response = stream.responses(&published(&index, 1), now).remove(0);
    stream.request(answer(&response, Some((INTERNAL, "pod default/a: no netns"))), now).unwrap();
    assert!(stream.responses(&published(&index, 1), now + Duration::from_secs(100)).is_empty());
    assert!(stream.progress()[ResourceKind::LocalWorkload as usize].failing);
    assert_eq!(stream.progress()[ResourceKind::LocalWorkload as usize].error, "pod default/a: no netns");
    stream.request(answer(&response, None), now).unwrap();
    assert!(
        !stream.progress()[ResourceKind::LocalWorkload as usize].failing
            && stream.progress()[ResourceKind::LocalWorkload as usize].error.is_empty()
    );
}

#[test]
fn an_answer_to_an_old_nonce_changes_nothing() {
    let now = Instant::now();
    let (mut stream, mut index) = (subscribed(now), index());
    index.apply([pod("a", 1)]);
    let response = stream.responses(&published(&index, 1), now).remove(0);
    let old = DeltaDiscoveryResponse { nonce: "0".into(), ..response };
    stream.request(answer(&old, None), now).unwrap();
    assert!(stream.progress()[ResourceKind::Address as usize].waiting);
}

#[test]
fn an_agent_that_says_it_is_another_is_refused() {
    let now = Instant::now();
    let mut stream = StreamState::new("node-2".into());
    let refused = stream.request(first(ResourceKind::Mesh, HashMap::new()), now).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    let nameless = DeltaDiscoveryRequest { node: None, ..first(ResourceKind::Mesh, HashMap::new()) };
    assert!(stream.request(nameless, now).is_err());
}

#[test]
fn a_named_subscription_gets_its_names_and_hears_of_what_is_not_there() {
    let now = Instant::now();
    let mut index = index();
    index.apply([pod("a", 1), pod("b", 2)]);
    let mut stream = StreamState::new("node-1".into());
    let wanted = vec!["Kubernetes//Pod/default/a".to_owned(), "nobody".to_owned()];
    let request = DeltaDiscoveryRequest {
        resource_names_subscribe: wanted,
        ..first(ResourceKind::Address, HashMap::new())
    };
    stream.request(request, now).unwrap();
    let response = stream.responses(&published(&index, 1), now).remove(0);
    assert_eq!(names(&response), ["Kubernetes//Pod/default/a"]);
    assert_eq!(response.removed_resources, ["nobody"]);
    stream.request(answer(&response, None), now).unwrap();
    assert!(stream.responses(&published(&index, 1), now).is_empty());
}

#[test]
fn a_large_state_is_sent_in_responses_of_bounded_size() {
    let now = Instant::now();
    let (mut stream, mut index) = (subscribed(now), index());
    index.apply((0..6000_u32).map(|n| {
        let Change::Put(key, Input::Pod(mut held)) = pod(&format!("p{n}"), 1) else { unreachable!() };
        held.addresses = vec![std::net::Ipv4Addr::from(0x0af4_0000 + n).into()];
        Change::Put(key, Input::Pod(held))
    }));
    let (mut responses, mut sent) = (0, 0);
    loop {
        let mut next = stream.responses(&published(&index, 1), now);
        let Some(response) = next.pop() else { break };
        let bytes: usize = response.resources.iter().map(|r| r.resource.as_ref().unwrap().value.len()).sum();
        assert!(bytes < RESPONSE_BYTES + 4096);
        responses += 1;
        sent += response.resources.len();
        stream.request(answer(&response, None), now).unwrap();
    }
    assert_eq!(sent, 6000);
    assert!(responses > 1, "{responses}");
}
