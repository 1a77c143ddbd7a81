//! Every protocol that goes through the HTTP stage, and what must not go through it.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::suite::{self, Case};
use serde_json::Value;

mod grpcio;
mod hostile;
mod upgrades;

/// `web` declares HTTP on its ports 80 and 8082, `web:9080` declares nothing.
const HOSTS: &[&str] = &["web"];

const CASES: &[Case<Mesh>] = &[
    ("http_1_0_1_1_and_2_are_spoken_on_both_sides", versions),
    ("methods_keep_their_meaning", methods),
    ("grpc_of_every_kind_with_trailers_and_statuses", grpc),
    ("grpc_core_on_both_sides_with_deadlines_and_cancellation", grpcio::every_kind),
    ("websockets_are_carried_both_ways", websockets),
    ("websockets_on_streams_of_http2", upgrades::websockets_over_http2),
    ("a_wish_for_h2c_is_answered_in_http_1_1", upgrades::h2c),
    ("connect_goes_to_the_application", upgrades::connect),
    ("early_hints_stay_behind_and_disturb_nothing", upgrades::early_hints),
    ("expect_continue_and_early_responses", interim),
    ("pipelined_requests_are_answered_in_order", pipelining),
    ("trailers_cross_in_both_directions", trailers),
    ("h2load_and_nghttp_are_served", tools),
    ("requests_of_one_connection_are_balanced_over_all_endpoints", balanced),
    ("a_gibibyte_streams_both_ways_in_bounded_memory", large),
    ("server_first_protocols_are_not_held_up_on_undeclared_ports", server_first),
    ("http_on_an_undeclared_port_is_seen_and_all_else_carried", detected),
    ("malformed_requests_are_400_and_the_connection_ends", hostile::malformed),
    ("hostile_peers_cannot_grow_the_agent", hostile::floods),
];

fn main() -> ExitCode {
    let hints = upgrades::SERVICE.replace("{name: hints}", "{name: hints, namespace: trusted}");
    let more = [grpcio::SERVICE, upgrades::SOCKETS, &hints].join("\n---\n");
    suite::run(|| Mesh::up("t-l7-proto", HOSTS, &more), 2, CASES)
}

fn versions(mesh: &Mesh) -> Result<()> {
    for (flag, port, proto) in [
        ("--http1.1", 80, "HTTP/1.1"),
        ("--http2-prior-knowledge", 8082, "HTTP/2.0"),
        ("--http1.0", 80, "HTTP/1.1"),
        ("--http1.1", 9080, "HTTP/1.1"),
        ("--http2-prior-knowledge", 9080, "HTTP/2.0"),
    ] {
        let reply = mesh.call(&format!("http://web:{port}/"), &[flag])?;
        ensure!(reply.status == 200, "{flag} {port}: {reply:?}");
        ensure!(reply.json()?["proto"] == proto, "{flag} {port}: {reply:?}");
    }
    // HTTP/1.0 without a length: the end of the body is the end of the connection.
    let old = mesh.probe(&["wire", "web:80", r"GET /?chunks=3 HTTP/1.0\r\nhost: web\r\n\r\n"])?;
    ensure!(old["end"] == "closed" && text(&old).ends_with(&"*".repeat(24)), "{old}");
    ensure!(!text(&old).to_lowercase().contains("transfer-encoding"), "{old}");
    Ok(())
}

fn text(value: &Value) -> &str {
    value["text"].as_str().unwrap_or_default()
}

fn methods(mesh: &Mesh) -> Result<()> {
    let head = mesh.call("http://web/?bytes=10", &["-I", "-o", "/dev/null"])?;
    ensure!(head.status == 200 && head.body.trim().is_empty(), "{head:?}");
    for method in ["OPTIONS", "DELETE", "PURGE"] {
        let reply = mesh.call("http://web/", &["-X", method])?;
        ensure!(reply.json()?["method"] == method, "{method}: {reply:?}");
    }
    let star =
        mesh.probe(&["wire", "web:80", r"OPTIONS * HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n"])?;
    ensure!(text(&star).starts_with("HTTP/1.1 200"), "{star}");
    let connect = mesh.probe(&["wire", "web:80", r"CONNECT web:80 HTTP/1.1\r\nhost: web:80\r\n\r\n"])?;
    ensure!(
        text(&connect).starts_with("HTTP/1.1 4") || text(&connect).starts_with("HTTP/1.1 2"),
        "{connect}"
    );
    let posted = mesh.call("http://web/", &["-d", "0123456789"])?;
    ensure!(posted.json()?["received"] == 10, "{posted:?}");
    Ok(())
}

fn grpc(mesh: &Mesh) -> Result<()> {
    for (kind, replies) in [("unary", 3), ("collect", 1), ("repeat", 3), ("converse", 3)] {
        let said = mesh.probe(&["grpc-client", "http://web:7070", "--kind", kind])?;
        ensure!(said["code"] == 0, "{kind}: {said}");
        ensure!(said["replies"].as_array().map(Vec::len) == Some(replies), "{kind}: {said}");
        let ended = mesh.probe(&["grpc-client", "http://web:7070", "--kind", kind, "--status", "9"])?;
        ensure!(ended["code"] == 9 && ended["trailer"] == "at-the-end", "{kind}: {ended}");
    }
    Ok(())
}

fn websockets(mesh: &Mesh) -> Result<()> {
    let said = mesh.probe(&["websocket-client", "ws://web:7002/chat", "--count", "20"])?;
    ensure!(said["status"] == 101 && said["echoed"] == 20 && said["whole"] == true, "{said}");
    Ok(())
}

fn interim(mesh: &Mesh) -> Result<()> {
    let asks = r"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n";
    let said = mesh.probe(&["wire", "web:80", asks, "hello"])?;
    ensure!(text(&said).starts_with("HTTP/1.1 100"), "{said}");
    ensure!(text(&said).contains("HTTP/1.1 200") && text(&said).contains(r#""received":5"#), "{said}");
    // An answer before the body has come, and the body is never sent.
    let early = r"POST /?early=1 HTTP/1.1\r\nhost: web\r\ncontent-length: 100000\r\n\r\nabc";
    let said = mesh.probe(&["wire", "web:80", early])?;
    ensure!(text(&said).contains("HTTP/1.1 200"), "{said}");
    Ok(())
}

fn pipelining(mesh: &Mesh) -> Result<()> {
    let one = |path: &str, more: &str| format!(r"GET {path} HTTP/1.1\r\nhost: web\r\n{more}\r\n");
    let all =
        [one("/first?delay=300", ""), one("/second", ""), one("/third", r"connection: close\r\n")].concat();
    let said = mesh.probe(&["wire", "web:80", &all])?;
    let at = |path: &str| text(&said).find(path);
    ensure!(said["end"] == "closed", "{said}");
    let order = (at("/first"), at("/second"), at("/third"));
    ensure!(order.0.is_some() && order.0 < order.1 && order.1 < order.2, "{said}");
    Ok(())
}

fn trailers(mesh: &Mesh) -> Result<()> {
    let request = r"POST /?trailers=1 HTTP/1.1\r\nhost: web\r\nte: trailers\r\ntransfer-encoding: chunked\r\ntrailer: x-sent\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\nx-sent: yes\r\n\r\n";
    let said = mesh.probe(&["wire", "web:80", request])?;
    ensure!(text(&said).contains(r#""x-sent":"yes""#), "the request's trailer: {said}");
    ensure!(text(&said).to_lowercase().contains("x-trailer: at-the-end"), "the response's trailer: {said}");
    Ok(())
}

fn tools(mesh: &Mesh) -> Result<()> {
    for (port, more) in [(80, "--h1"), (8082, "-m10")] {
        let url = format!("http://web:{port}/");
        let argv = ["h2load", "-n", "500", "-c", "5", more, &url];
        let output = mesh.sandbox.exec("default", "client", &argv)?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(said.contains("500 succeeded, 0 failed"), "{argv:?}: {said}");
    }
    let output = mesh.sandbox.exec("default", "client", &["nghttp", "-v", "http://web:8082/"])?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.contains(":status: 200"), "{said}");
    Ok(())
}

fn balanced(mesh: &Mesh) -> Result<()> {
    for flags in [&["--connections=1"][..], &["--connections=1", "--http2"]] {
        let tally = mesh.probe(&[&["requests", "http://web/", "--count", "60"], flags].concat())?;
        let pods = tally["pods"].as_object().map_or(0, serde_json::Map::len);
        ensure!(pods == 3 && tally["ok"] == 60, "{flags:?}: {tally}");
    }
    Ok(())
}

fn large(mesh: &Mesh) -> Result<()> {
    let before = mesh.agent_rss("node-1")?;
    let gib = 1u64 << 30;
    let down = mesh.call(&format!("http://web/?bytes={gib}"), &["-o", "/dev/null", "-m", "120"])?;
    ensure!(down.status == 200);
    let up = format!("head -c {gib} /dev/zero | curl -sS -m 120 -T - http://web/upload");
    let output = mesh.sandbox.exec("default", "client", &["sh", "-c", &up])?;
    let said: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(said["received"] == gib, "{said}");
    let grown = mesh.agent_rss("node-1")?.saturating_sub(before);
    ensure!(grown < 64 << 10, "the agent grew by {grown} KiB over 2 GiB of bodies");
    Ok(())
}

fn server_first(mesh: &Mesh) -> Result<()> {
    mesh.probe(&["wire", "web:7000", "--patience", "500"])?;
    let mut times: Vec<u64> = Vec::new();
    for _ in 0..5 {
        let said = mesh.probe(&["wire", "web:7000", "--patience", "500"])?;
        times.extend(said["first"].as_u64());
    }
    times.sort_unstable();
    ensure!(times.len() == 5 && times[2] < 50, "the server's first byte came after {times:?} ms");
    Ok(())
}

fn detected(mesh: &Mesh) -> Result<()> {
    let seen = mesh.call("http://web:9080/seen-by-stage", &[])?;
    ensure!(seen.header("x-envoy-upstream-service-time").is_some(), "{seen:?}");
    let half = mesh.probe(&["stream-client", "web:7001", "--bytes", "3000000"])?;
    ensure!(half["reply"] == "3000000", "{half}");
    Ok(())
}
