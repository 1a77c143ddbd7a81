//! Reviews of tokens: how often they are asked for, what an answer is worth later, and what happens without one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use heddle_apiserver::{Fault, TokenSpec, What};
use serde_json::json;
use tonic::Code;

use crate::harness::Agent;
use crate::tokens::{claims, forged};
use crate::world::{HOME, World, agent, ask, eventually, pod};

/// What is looked at every ten seconds is seen by then, however slow the machine is.
const SOON: Duration = Duration::from_secs(40);

fn reviews(world: &World) -> usize {
    world.double.requests().iter().filter(|request| request.starts_with("create tokenreviews")).count()
}

fn fail(world: &World, times: u32, what: What) {
    world.double.fail(Fault { times, ..Fault::once("create", "tokenreviews.authentication.k8s.io", what) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_reviewed_once_in_a_few_seconds_however_often_it_is_brought() {
    let world = World::start().await;
    let uid = world.pod(pod("a", "n1")).await;
    let token = world.token("n1");
    let before = reviews(&world);
    assert!(world.certificate(&token, ask(&uid)).await.is_ok());
    for _ in 0..40 {
        assert!(world.certificate(&token, ask(&uid)).await.is_ok());
    }
    assert_eq!(reviews(&world) - before, 1);
    // A no is kept as well.
    let claims = claims(&token);
    for _ in 0..40 {
        assert_eq!(
            world.certificate(&forged(&claims), ask(&uid)).await.unwrap_err().code(),
            Code::Unauthenticated
        );
    }
    assert_eq!(reviews(&world) - before, 2);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.certificate(&token, ask(&uid)).await.is_ok());
    assert_eq!(reviews(&world) - before, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_is_worth_nothing_once_the_agents_pod_is_gone_or_elsewhere_or_has_ended() {
    let world = World::start().await;
    let uid = world.pod(pod("a", "n1")).await;
    let (here, there) = (world.token("n1"), world.token("n2"));
    for token in [&here, &there] {
        let refused = world.certificate(token, ask("nobody")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "it is let in");
    }
    assert!(world.double.remove("pods", HOME, "heddle-agent-n1"));
    let mut ended = world.double.get("pods", HOME, "heddle-agent-n2").unwrap();
    ended["status"]["phase"] = "Failed".into();
    world.double.put(ended);
    let before = reviews(&world);
    world.settled().await;
    for token in [&here, &there] {
        let refused = world.certificate(token, ask(&uid)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    assert_eq!(reviews(&world), before, "our own record decides");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_taken_out_of_the_cluster_gets_no_certificate_any_more() {
    let world = World::start().await;
    let uid = world.pod(pod("a", "n1")).await;
    let token = world.token("n1");
    assert!(world.certificate(&token, ask(&uid)).await.is_ok());
    assert!(world.double.remove("nodes", "", "n1"));
    world.settled().await;
    let refused = world.certificate(&token, ask(&uid)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(world.counted("heddle_controller_callers_total{result=\"node_gone\"} 1").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_api_servers_word_nobody_new_is_let_in_and_agents_are_told_to_ask_again() {
    let world = World::start().await;
    let uid = world.pod(pod("a", "n1")).await;
    let token = || world.token("n1");
    for code in [401, 403, 404, 409, 429, 500, 503, 504] {
        fail(&world, 1, What::Status(code));
        let refused = world.certificate(&token(), ask(&uid)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{code}: {refused}");
    }
    fail(&world, 1, What::Cut);
    assert_eq!(world.certificate(&token(), ask(&uid)).await.unwrap_err().code(), Code::Unavailable);
    fail(&world, 1, What::Hang(20_000));
    let begun = Instant::now();
    assert_eq!(world.certificate(&token(), ask(&uid)).await.unwrap_err().code(), Code::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(20), "not waited for: {:?}", begun.elapsed());
    let good = token();
    let known = token();
    assert!(world.certificate(&known, ask(&uid)).await.is_ok());
    let channel = world.channel();
    world.double.down(true);
    let refused = crate::harness::certificate(channel, &good, ask(&uid)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    world.double.down(false);
    eventually("it is let in again", async || world.certificate(&good, ask(&uid)).await.is_ok()).await;
    assert!(world.get("/metrics").await.contains("certificate_requests_total{result=\"unavailable\"} "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_forges_tokens_by_the_hundred_does_not_make_the_controller_ask_by_the_hundred() {
    let world = World::start().await;
    let uid = world.pod(pod("a", "n1")).await;
    let token = world.token("n1");
    assert!(world.certificate(&token, ask(&uid)).await.is_ok());
    let (before, begun) = (reviews(&world), Instant::now());
    let mut claims = claims(&token);
    let (mut denied, mut later) = (0, 0);
    for round in 0..10 {
        let calls = (0..50).map(|number| {
            claims["jti"] = json!(format!("{round}-{number}"));
            let token = forged(&claims);
            let (world, uid) = (&world, &uid);
            async move { world.certificate(&token, ask(uid)).await }
        });
        for result in futures_util::future::join_all(calls.collect::<Vec<_>>()).await {
            match result.unwrap_err().code() {
                Code::Unauthenticated => denied += 1,
                Code::Unavailable => later += 1,
                code => unreachable!("{code:?}"),
            }
        }
    }
    let most = 50 + 2 * (usize::try_from(begun.elapsed().as_secs()).unwrap() + 1);
    assert!(reviews(&world) - before <= most, "{} of at most {most}", reviews(&world) - before);
    assert!(denied <= most && later >= 500 - most, "{denied} {later}");
    assert!(world.certificate(&token, ask(&uid)).await.is_ok(), "who is known is not held up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_token_and_with_its_agents_pod() {
    let world = World::start().await;
    let short = world.double.token(&TokenSpec { seconds: 12, ..agent("n2") }).unwrap();
    let mut ending = Agent::open_as(world.channel(), "n2", &short).await.unwrap();
    let mut leaving = Agent::open_as(world.channel(), "n1", &world.token("n1")).await.unwrap();
    let mut staying = Agent::open_as(world.channel(), "n2", &world.token("n2")).await.unwrap();
    for agent in [&mut ending, &mut leaving, &mut staying] {
        agent.settle().await;
    }
    assert!(world.double.remove("pods", HOME, "heddle-agent-n1"));
    for (agent, code) in [(&mut ending, Code::Unavailable), (&mut leaving, Code::Unauthenticated)] {
        let end = loop {
            match agent.next_within(SOON).await {
                // What was on its way; nobody may be there any more to take an answer.
                Ok(_) => {}
                Err(status) => break status,
            }
        };
        assert_eq!(end.code(), code, "{end}");
    }
    while !staying.silent().await {}
    world.double.put(pod("later", "n2"));
    assert!(staying.next().await.is_ok());
}
