//! `connectionPool`, as a server outside the mesh sees it: its connections are the agent's own, one for one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;
use serde_json::Value;

use super::retries::logged;
use super::{rule, service, status, told};

const SERVER: (&str, &str) = ("outside", "plain");

/// Host, port of the server, policy.
const HOSTS: &[(&str, u16, &str)] = &[
    ("one", 9002, "tcp: {maxConnections: 1}"),
    ("two", 9003, "tcp: {maxConnections: 2}"),
    ("one-h2", 9004, "tcp: {maxConnections: 1}, http: {h2UpgradePolicy: UPGRADE}"),
    ("pending", 9005, "tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}"),
    ("under-way", 9006, "http: {http2MaxRequests: 2}"),
    ("repeats", 9007, "http: {maxRetries: 1}"),
    ("spent", 9008, "http: {maxRequestsPerConnection: 2}"),
    ("spent-h2", 9009, "http: {maxRequestsPerConnection: 2, h2UpgradePolicy: UPGRADE}"),
    ("idle", 9010, "http: {idleTimeout: 1s}"),
    ("idle-tcp", 9011, "tcp: {idleTimeout: 1s}"),
    ("old", 9012, "tcp: {maxConnectionDuration: 1s}"),
    ("upgraded", 9013, "tcp: {maxConnections: 1}, http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 2}"),
    ("stays", 9014, "http: {h2UpgradePolicy: DO_NOT_UPGRADE}"),
    ("as-client", 9015, "http: {useClientProtocol: true}"),
    ("alive", 9016, "tcp: {tcpKeepalive: {time: 600s, interval: 60s, probes: 4}}"),
];

pub(super) fn objects() -> String {
    let mut all = String::new();
    for (host, port, policy) in HOSTS {
        all += &service(&format!("pool-{host}"), "plain", *port);
        all += &rule(
            &format!("pool-{host}.outside.svc.cluster.local"),
            &format!("connectionPool: {{{policy}}}"),
        );
    }
    all += "\n---\n{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: pool-repeats}, spec: {hosts: \
            [pool-repeats.outside.svc.cluster.local], http: [{retries: {attempts: 3, retryOn: '503', backoff: 1s}, route: \
            [{destination: {host: pool-repeats.outside.svc.cluster.local}}]}]}}";
    // Nobody answers there: no pod has the address.
    all += "\n---\n{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: nowhere}, spec: {hosts: \
            [nowhere.example.com], addresses: [240.1.0.9], location: MESH_EXTERNAL, resolution: STATIC, ports: [{number: 80, \
            name: http, protocol: HTTP}], endpoints: [{address: 192.0.2.9}]}}";
    all + &rule("nowhere.example.com", "connectionPool: {tcp: {connectTimeout: 400ms}}")
}

fn url(host: &str) -> String {
    format!("http://pool-{host}.outside")
}

/// `open`, `most` and `total` of the connections or requests that a host's port has seen.
fn level(mesh: &Mesh, host: &str, what: &str) -> Result<Value> {
    let port = HOSTS.iter().find(|(name, _, _)| *name == host).map(|(_, port, _)| *port).context("host")?;
    Ok(told(mesh, SERVER, &format!("connections/{port}"))?[what].clone())
}

/// Many clients of two pods of one identity, on as many connections: enough for every worker to have some.
fn crowd(mesh: &Mesh, host: &str, more: &[&str]) -> Result<[Value; 2]> {
    let url = format!("{}/?delay=20", url(host));
    let argv = [&["requests", &url, "--count", "60", "--connections", "12"], more].concat();
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| mesh.probe_from("default", "twin", &argv));
        (mesh.probe(&argv), other.join())
    });
    Ok([one?, other.map_err(|_panic| anyhow::anyhow!("the twin"))??])
}

pub(super) fn connections(mesh: &Mesh) -> Result<()> {
    for (host, most) in [("one", 1), ("two", 2)] {
        let tallies = crowd(mesh, host, &[])?;
        let served: u64 = tallies.iter().map(|tally| status(tally, 200)).sum();
        ensure!(served == 120, "{host}: everybody waits for a turn: {tallies:?}");
        let (open, busy) = (level(mesh, host, "connections")?, level(mesh, host, "requests")?);
        ensure!(busy["most"].as_u64() <= Some(most), "{host}: {busy}");
        // A connection whose end the server has not seen yet may still count there.
        ensure!(open["most"].as_u64() <= Some(most * 2), "{host}: {open}");
    }
    Ok(())
}

pub(super) fn connections_two(mesh: &Mesh) -> Result<()> {
    let tallies = crowd(mesh, "one-h2", &[])?;
    ensure!(tallies.iter().all(|tally| status(tally, 200) == 60), "{tallies:?}");
    let open = level(mesh, "one-h2", "connections")?;
    ensure!(open["most"].as_u64() <= Some(2), "one, and one whose end was not seen yet: {open}");
    let one = eventually(Duration::from_secs(10), || Ok(level(mesh, "one-h2", "connections")?["open"] == 1));
    ensure!(one.is_ok(), "one stays");
    Ok(())
}

pub(super) fn requests_bounded(mesh: &Mesh, host: &str) -> Result<Value> {
    let to = format!("{}/bounded-{host}?delay=500", url(host));
    let tally = mesh.probe(&["requests", &to, "--count", "12", "--connections", "12"])?;
    let (served, refused) = (status(&tally, 200), status(&tally, 503));
    ensure!(served >= 1 && refused >= 1 && served + refused == 12, "{host}: {tally}");
    logged(mesh, &format!("/bounded-{host}"), " 503 UO ")?;
    Ok(tally)
}

pub(super) fn requests(mesh: &Mesh) -> Result<()> {
    requests_bounded(mesh, "pending")?;
    requests_bounded(mesh, "under-way")?;
    let open = level(mesh, "under-way", "requests")?;
    ensure!(open["most"] == 2, "{open}");
    let url = format!("{}/?delay=2000", url("under-way"));
    let refused = std::thread::scope(|scope| {
        let busy: Vec<_> = (0..2).map(|_| scope.spawn(|| mesh.call(&url, &[]))).collect();
        let full =
            eventually(Duration::from_secs(10), || Ok(level(mesh, "under-way", "requests")?["open"] == 2));
        let refused = mesh.call(&url, &[]);
        busy.into_iter().for_each(|each| drop(each.join()));
        full.and(refused)
    })?;
    ensure!(
        refused.status == 503 && refused.header("x-envoy-overloaded").as_deref() == Some("true"),
        "{refused:?}"
    );
    Ok(())
}

pub(super) fn retries(mesh: &Mesh) -> Result<()> {
    let to = format!("{}/repeated?status=503", url("repeats"));
    let tally = mesh.probe(&["requests", &to, "--count", "10", "--connections", "10"])?;
    ensure!(status(&tally, 503) == 10, "{tally}");
    logged(mesh, "/repeated", " 503 UO ")?;
    logged(mesh, "/repeated", " 503 URX ")?;
    let sent = level(mesh, "repeats", "requests")?["total"].as_u64().unwrap_or(0);
    ensure!((11..40).contains(&sent), "one is repeated at a time, thrice at the most: {sent} were sent");
    Ok(())
}

pub(super) fn lives(mesh: &Mesh) -> Result<()> {
    for host in ["spent", "spent-h2"] {
        let tally = super::requests(mesh, &url(host), 10)?;
        let total = level(mesh, host, "connections")?["total"].clone();
        ensure!(status(&tally, 200) == 10 && total == 5, "{host}: two requests each: {total}, {tally}");
    }
    for host in ["idle", "idle-tcp"] {
        ensure!(super::requests(mesh, &url(host), 3)?["ok"] == 3, "{host}");
        ensure!(level(mesh, host, "connections")?["total"] == 1, "{host}: one is enough");
        let gone = eventually(Duration::from_secs(20), || Ok(level(mesh, host, "connections")?["open"] == 0));
        ensure!(gone.is_ok(), "{host}: it is still open");
        ensure!(super::requests(mesh, &url(host), 1)?["ok"] == 1, "{host}");
        ensure!(level(mesh, host, "connections")?["total"] == 2, "{host}");
    }
    let begun = std::time::Instant::now();
    let aged = eventually(Duration::from_secs(20), || {
        ensure!(super::requests(mesh, &url("old"), 1)?["ok"] == 1, "it is answered");
        Ok(level(mesh, "old", "connections")?["total"].as_u64() >= Some(3))
    });
    ensure!(
        aged.is_ok() && begun.elapsed() >= Duration::from_secs(2),
        "a new one each second: {:?}",
        begun.elapsed()
    );
    Ok(())
}

pub(super) fn connect_timeout(mesh: &Mesh) -> Result<()> {
    let argv = ["--resolve", "nowhere.example.com:80:240.1.0.9"];
    let failed = mesh.call("http://nowhere.example.com/nowhere", &argv)?;
    ensure!(failed.status == 503 && failed.body.contains("connection timeout"), "{failed:?}");
    // Without the policy a try would take ten seconds.
    ensure!((0.4..8.0).contains(&failed.seconds), "{failed:?}");
    logged(mesh, "/nowhere", " 503 UF,URX ")
}

pub(super) fn protocols(mesh: &Mesh) -> Result<()> {
    let spoken =
        |host: &str, argv: &[&str]| anyhow::Ok(mesh.call(&url(host), argv)?.json()?["proto"].clone());
    let two = &["--http2-prior-knowledge"][..];
    for (host, argv, proto) in [
        ("upgraded", &[][..], "HTTP/2.0"),
        ("stays", &[], "HTTP/1.1"),
        ("stays", two, "HTTP/1.1"),
        ("as-client", &[], "HTTP/1.1"),
        ("as-client", two, "HTTP/2.0"),
    ] {
        let found = spoken(host, argv)?;
        ensure!(found == proto, "{host} {argv:?}: {found}, not {proto}");
    }
    let to = format!("{}/?delay=100", url("upgraded"));
    let tally = mesh.probe(&["requests", &to, "--count", "12", "--connections", "6"])?;
    ensure!(status(&tally, 200) == 12, "{tally}");
    let (open, busy) = (level(mesh, "upgraded", "connections")?, level(mesh, "upgraded", "requests")?);
    ensure!(open["most"] == 1 && busy["most"] == 2, "one connection of two streams: {open}, {busy}");
    Ok(())
}

pub(super) fn keepalive(mesh: &Mesh) -> Result<()> {
    ensure!(mesh.call(&url("alive"), &[])?.status == 200, "it is answered");
    // Sockets of the agent that go out of the pod are in the pod's namespace: remote port, state, and when the timer fires.
    let tables = mesh.sandbox.exec("default", "client", &["cat", "/proc/net/tcp", "/proc/net/tcp6"])?;
    let text = String::from_utf8_lossy(&tables.stdout).into_owned();
    let port = format!(":{:04X}", 9016);
    let timers: Vec<(&str, u64)> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(2).is_some_and(|remote| remote.ends_with(&port)) && fields[3] == "01")
        .filter_map(|fields| fields.get(5)?.split_once(':'))
        .filter_map(|(timer, when)| Some((timer, u64::from_str_radix(when, 16).ok()?)))
        .collect();
    // Timer 2 is keepalive's, in hundredths of a second.
    let set = timers.iter().any(|(timer, when)| *timer == "02" && (30_000..=60_000).contains(when));
    ensure!(set, "after 600 s: {timers:?} in {text}");
    Ok(())
}
