//! Enrolment, the tunnel, and how connections end, through real pods on two nodes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use heddle_tests::capture::Capture;
use heddle_tests::sandbox::{eventually, now};
use heddle_tests::world::World;

#[test]
fn a_label_enrols_running_pods_and_its_removal_releases_them() {
    let world = World::up("t-label").unwrap();
    assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo");
    for (label, port) in
        [("istio-injection=enabled", 15008), ("istio-injection-", 5678), ("heddle.dev/mesh=enabled", 15008)]
    {
        world.sandbox.run(&["sandbox", "label", "namespace", "default", label, "--overwrite"]).unwrap();
        world.sandbox.synced().unwrap();
        let capture = Capture::start(&world.sandbox, "node-1").unwrap();
        let since = now();
        for _ in 0..5 {
            assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo", "after {label}");
        }
        let wire = capture.stop().unwrap();
        let client = world.sandbox.pod_addresses("default", "client").unwrap();
        let opened: Vec<u16> = wire
            .opens_since(since)
            .filter(|packet| packet.addresses.is_some_and(|(from, _)| client.contains(&from.to_string())))
            .filter_map(|packet| packet.tcp.map(|tcp| tcp.destination))
            .collect();
        assert!(opened.iter().all(|opened| *opened == port), "after {label} connections went to {opened:?}");
        // A pooled tunnel may be open already; a direct connection is new each time.
        assert!(port == 15008 || opened.len() == 5, "after {label}: {opened:?}");
    }
}

#[test]
fn a_pod_created_in_an_enrolled_namespace_is_captured_from_its_first_packet() {
    let world = World::enrolled("t-newpod").unwrap();
    let capture = Capture::start(&world.sandbox, "node-1").unwrap();
    world
        .apply(
            "{apiVersion: v1, kind: Pod, metadata: {name: early, labels: {app: early}}, spec: {nodeName: node-1, containers: \
             [{name: early, image: curlimages/curl, command: [sh, -c, 'curl -s -H \"X-Canary: first-packet-canary-0123456789ab\" http://echo; sleep 1000']}]}}",
        )
        .unwrap();
    eventually(Duration::from_secs(10), || {
        Ok(world.sandbox.run(&["sandbox", "logs", "early"])?.contains("echo"))
    })
    .unwrap();
    let wire = capture.stop().unwrap();
    assert_eq!(wire.count(b"first-packet-canary-0123456789ab"), 0);
}

#[test]
fn applications_see_each_other_and_server_first_protocols_do_not_wait() {
    let world = World::enrolled("t-peers").unwrap();
    let client = world.sandbox.pod_addresses("default", "client").unwrap();
    let mut targets = vec!["peers".to_owned()];
    targets.extend(world.sandbox.pod_addresses("default", "peers").unwrap());
    for target in targets {
        let to = if target.contains(':') { format!("[{target}]:7000") } else { format!("{target}:7000") };
        let seen = world.probe(&["peer-client", &to]).unwrap();
        let saw = seen["server_saw"]["ip"].as_str().unwrap();
        assert!(client.iter().any(|ip| ip == saw), "{to}: the server saw {saw}, the client is {client:?}");
        assert_eq!(seen["server_saw"]["port"], seen["local"]["port"], "{to}");
        if target != "peers" {
            assert_eq!(seen["peer"]["ip"].as_str().unwrap(), target);
        }
    }
}

#[test]
fn half_closes_and_resets_cross_the_tunnel() {
    let world = World::enrolled("t-streams").unwrap();
    let half = world.probe(&["stream-client", "peers:7001", "--bytes", "3000000"]).unwrap();
    assert_eq!((half["reply"].as_str(), half["error"].is_null()), (Some("3000000"), true));
    let reset = world.probe(&["stream-client", "peers:7001", "--end", "server-reset"]).unwrap();
    assert_eq!(reset["error"].as_str(), Some("ConnectionReset"), "{reset}");
    world.probe(&["stream-client", "peers:7001", "--end", "reset"]).unwrap();
    eventually(Duration::from_secs(5), || {
        let log = world.sandbox.run(&["sandbox", "logs", "peers", "-c", "streams"])?;
        Ok(log.lines().any(|line| line == "reset") && log.lines().any(|line| line == "eof 3000000"))
    })
    .unwrap();
}

#[test]
fn destinations_outside_the_mesh_pass_through_and_the_host_reaches_permissive_pods() {
    let world = World::enrolled("t-outside").unwrap();
    world
        .apply(
            "{apiVersion: v1, kind: Pod, metadata: {name: plain, namespace: outside, labels: {app: plain}}, spec: {nodeName: node-2, \
             containers: [{name: plain, image: hashicorp/http-echo, args: [-text=plain]}]}}",
        )
        .unwrap();
    world.sandbox.run(&["sandbox", "wait", "-n", "outside", "pod/plain", "--for", "ready"]).unwrap();
    world.sandbox.synced().unwrap();
    for ip in world.sandbox.pod_addresses("outside", "plain").unwrap() {
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip };
        assert_eq!(world.curl("default", "client", &format!("http://{host}:5678")).unwrap(), "plain");
    }
    assert_eq!(world.curl("outside", "outsider", "http://echo.default").unwrap(), "echo");
    assert_eq!(world.curl("default", "node/node-2", "http://10.96.0.1").ok(), None);
}
