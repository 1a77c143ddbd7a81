//! Connections that were open before their pod was enrolled, or before it became STRICT.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::thread::sleep;
use std::time::Duration;

use heddle_tests::world::{World, outcome};

const STRICT: &str = "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: p, namespace: default}, \
                      spec: {mtls: {mode: STRICT}}}";

#[test]
fn connections_from_before_are_left_alone_under_permissive_and_end_under_strict() {
    let world = World::up("t-before").unwrap();
    let target = world.service("echo", 80).unwrap();
    let kept = |namespace, pod, seconds| {
        let args = [&target, "--seconds", seconds, "--rate", "20", "--connections", "kept"];
        world.load(namespace, pod, &args).unwrap()
    };
    let short = [kept("default", "client", "6"), kept("outside", "outsider", "6")];
    let (inside, outside) = (kept("default", "client", "16"), kept("outside", "outsider", "16"));
    sleep(Duration::from_secs(1));
    world.enrol().unwrap();
    // Accepted by the agent, on port 15006.
    let accepted = kept("outside", "outsider", "14");
    for load in short {
        let outcome = outcome(load).unwrap();
        assert_eq!(outcome["failed"], 0, "enrolment is PERMISSIVE: {outcome}");
        assert!(outcome["ok"].as_u64().unwrap() > 100, "{outcome}");
    }
    world.apply(STRICT).unwrap();
    // By new connections, through the tunnel.
    let inside = outcome(inside).unwrap();
    assert_eq!(inside["failed"], 1, "{inside}");
    assert!(inside["recovered"].is_number(), "{inside}");
    for (load, which) in [(outside, "the application's own"), (accepted, "accepted by the agent")] {
        let outcome = outcome(load).unwrap();
        assert!(outcome["ok"].as_u64().unwrap() > 20, "{which}: {outcome}");
        assert!(outcome["failed"].as_u64().unwrap() > 0, "{which}: {outcome}");
        assert!(outcome["recovered"].is_null(), "{which}: {outcome}");
        let first = outcome["errors"][0].as_str().unwrap();
        assert!(first.contains("reset"), "{which} ended at once, and not by silence: {outcome}");
    }
}
