//! Ephemeral ports: all captured connections of a pod share one destination, and all inbound dials one source address.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use heddle_tests::world::World;

/// Leaves a pod about a thousand ephemeral ports.
fn narrow(world: &World, app: &str) {
    let pod = world.sandbox.pod("default", app).unwrap();
    let pid = world.sandbox.pids(&pod).unwrap()[0].to_string();
    let write = "echo 40000 40999 > /proc/sys/net/ipv4/ip_local_port_range";
    let status =
        Command::new("nsenter").args(["--target", &pid, "--net", "sh", "-c", write]).status().unwrap();
    assert!(status.success());
}

#[test]
fn five_times_as_many_connections_as_ports_exhaust_nothing_whoever_closes() {
    let world = World::enrolled("t-ports").unwrap();
    narrow(&world, "client");
    narrow(&world, "echo");
    let target = world.service("echo", 80).unwrap();
    for connections in ["new", "server-closes"] {
        // All of them in less than the 60 s that a closed connection keeps its port.
        let load = ["load", &target, "--requests", "5000", "--rate", "500", "--connections", connections];
        let outcome = world.probe(&load).unwrap();
        assert_eq!(
            (&outcome["failed"], &outcome["ok"]),
            (&0.into(), &5000.into()),
            "{connections}: {outcome}"
        );
    }
}
