//! Agents and controllers die, come back, and come in any order: nothing leaks, and the same state is reached.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use heddle_tests::capture::Capture;
use heddle_tests::sandbox::{eventually, now};
use heddle_tests::world::World;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn kill_agent(world: &World, node: &str) {
    for pid in world.sandbox.agent_pids(node).unwrap() {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    }
    eventually(Duration::from_secs(2), || Ok(world.sandbox.agent_pids(node)?.is_empty())).unwrap();
}

#[test]
fn with_either_agent_dead_nothing_passes_and_nothing_leaks_and_a_restart_serves_again() {
    let world = World::enrolled("t-kill").unwrap();
    assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo");
    for node in ["node-1", "node-2"] {
        let capture = Capture::start(&world.sandbox, "node-1").unwrap();
        kill_agent(&world, node);
        let since = now();
        assert!(world.curl("default", "client", "http://echo").is_err(), "served without {node}'s agent");
        world.sandbox.run(&["sandbox", "agent", "start", node]).unwrap();
        eventually(Duration::from_secs(5), || Ok(world.curl("default", "client", "http://echo").is_ok()))
            .unwrap();
        let wire = capture.stop().unwrap();
        let client = world.sandbox.pod_addresses("default", "client").unwrap();
        let direct = wire.opens_since(since).filter(|packet| {
            packet.addresses.is_some_and(|(from, _)| client.contains(&from.to_string()))
                && packet.tcp.is_some_and(|tcp| tcp.destination != 15008)
        });
        assert_eq!(direct.count(), 0, "a connection went around the tunnel while {node}'s agent was dead");
    }
}

#[test]
fn labels_changed_while_an_agent_is_away_are_in_force_when_it_is_back() {
    let world = World::up("t-away").unwrap();
    kill_agent(&world, "node-2");
    world.sandbox.run(&["sandbox", "label", "namespace", "default", "istio-injection=enabled"]).unwrap();
    world.sandbox.run(&["sandbox", "agent", "start", "node-2"]).unwrap();
    world.sandbox.synced().unwrap();
    assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo");
    let page = world.sandbox.metrics("node-2").unwrap();
    assert!(page.contains("connection_security_policy=\"mutual_tls\""), "not tunnelled");
    kill_agent(&world, "node-2");
    world.sandbox.run(&["sandbox", "label", "namespace", "default", "istio-injection-"]).unwrap();
    world.sandbox.run(&["sandbox", "agent", "start", "node-2"]).unwrap();
    world.sandbox.synced().unwrap();
    assert_eq!(world.curl("outside", "outsider", "http://echo.default").unwrap(), "echo");
}

#[test]
fn a_controller_restarted_keeps_its_root_and_agents_resume() {
    let world = World::enrolled("t-controller").unwrap();
    let root = std::fs::read(world.sandbox.directory().join("controller/root.pem")).unwrap();
    world.sandbox.run(&["sandbox", "controller", "stop"]).unwrap();
    assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo");
    world.sandbox.run(&["sandbox", "controller", "start"]).unwrap();
    world.sandbox.run(&["status", "--wait", "--timeout", "30s"]).unwrap();
    assert_eq!(root, std::fs::read(world.sandbox.directory().join("controller/root.pem")).unwrap());
    assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo");
}
