//! Labels set and removed under load: no connection notices.
#![allow(clippy::unwrap_used, reason = "tests")]

use heddle_tests::world::{World, outcome as ended};

const LABELS: [&str; 2] = ["istio-injection=enabled", "istio-injection-"];

#[test]
fn a_namespace_labelled_and_unlabelled_twenty_times_loses_no_connection() {
    let world = World::up("t-flips").unwrap();
    let target = world.service("echo", 80).unwrap();
    let args = [&target, "--seconds", "40", "--rate", "200", "--connections", "new"];
    let mut load = world.load("default", "client", &args).unwrap();
    // Opened in clear, then one that was opened through the tunnel.
    let kept = |seconds| {
        let args = [&target, "--seconds", seconds, "--rate", "20", "--connections", "kept"];
        world.load("default", "client", &args).unwrap()
    };
    let mut open_ones = vec![kept("38")];
    for flip in 0..40 {
        if flip == 1 {
            open_ones.push(kept("36"));
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        world.sandbox.run(&["sandbox", "label", "namespace", "default", LABELS[flip % 2]]).unwrap();
        world.sandbox.synced().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(load.try_wait().unwrap().is_none(), "the load ended before flip {flip}");
    }
    let outcome = ended(load).unwrap();
    let pages = ["node-1", "node-2"].map(|node| world.sandbox.metrics(node).unwrap());
    assert_eq!(outcome["failed"], 0, "{outcome}, {:?}", pages.each_ref().map(|page| refusals(page)));
    for open in open_ones {
        let outcome = ended(open).unwrap();
        assert_eq!(outcome["failed"], 0, "kept open: {outcome}");
        assert!(outcome["ok"].as_u64().unwrap() > 500, "kept open: {outcome}");
    }
    assert!(outcome["ok"].as_u64().unwrap() > 4000, "{outcome}");
    let tunnelled: f64 = pages[1]
        .lines()
        // Connections that carry requests are counted by these.
        .filter(|line| {
            line.starts_with("istio_tcp_connections_opened_total") || line.starts_with("istio_requests_total")
        })
        .filter(|line| line.contains("connection_security_policy=\"mutual_tls\""))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum();
    assert!(tunnelled > 100.0, "{tunnelled} were tunnelled of {outcome}");
}

/// What a node's programs refused since they were loaded, for the message.
fn refusals(page: &str) -> Vec<&str> {
    let counts = page.lines().filter(|line| line.starts_with("heddle_ebpf_drops_total"));
    counts.filter(|line| !line.ends_with(" 0")).collect()
}
