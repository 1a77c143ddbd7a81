//! Headers that users of Istio rely on, and the access log in its other shapes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;
use serde_json::{Value, json};

/// `retried` is sent again on 503.
pub(crate) const RULES: &str = "
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: headed}, spec: {hosts: [headed], http: [
  {match: [{uri: {prefix: /retried}}], retries: {attempts: 3, retryOn: '503', backoff: 1ms}, timeout: 9s, route: [{destination: {host: headed}}]},
  {route: [{destination: {host: headed}}]}]}}
";

/// Headers as the server got them, and those of the answer.
fn ask(mesh: &Mesh, path: &str, arguments: &[&str]) -> Result<(Value, heddle_tests::mesh::Reply)> {
    let reply = mesh.call(&format!("http://headed{path}"), arguments)?;
    let server = reply.json()?["headers"].clone();
    Ok((server, reply))
}

pub(crate) fn of_requests_and_answers(mesh: &Mesh) -> Result<()> {
    let (server, reply) = ask(mesh, "/plain", &[])?;
    // Made where there is none: a UUID of version 4.
    let id = server["x-request-id"].as_str().unwrap_or_default();
    let dashes: Vec<usize> = id.match_indices('-').map(|(at, _)| at).collect();
    ensure!(id.len() == 36 && dashes == [8, 13, 18, 23] && &id[14..15] == "4", "{id:?}");
    ensure!(server["x-forwarded-proto"] == "http" && server["x-envoy-attempt-count"] == "1", "{server}");
    // Nobody traces, and nobody is in front: neither is made up.
    for name in [
        "traceparent",
        "x-forwarded-for",
        "x-b3-traceid",
        "x-envoy-expected-rq-timeout-ms",
        "x-heddle-missed",
    ] {
        ensure!(server[name].is_null(), "{name}: {server}");
    }
    let took = reply.header("x-envoy-upstream-service-time").unwrap_or_default();
    ensure!(took.parse::<u64>().is_ok(), "{reply:?}");
    ensure!(
        reply.header("x-request-id").is_none() && reply.header("x-envoy-attempt-count").is_none(),
        "{reply:?}"
    );

    // Kept where a client says so.
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let said = [
        ("x-request-id", "my-own-id"),
        ("x-forwarded-for", "203.0.113.7, 198.51.100.2"),
        ("x-forwarded-proto", "https"),
        ("traceparent", trace),
        ("tracestate", "a=b"),
        ("x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124"),
        ("b3", "0"),
        ("x-cloud-trace-context", "1/2;o=1"),
    ];
    let headers: Vec<String> = said.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let arguments: Vec<&str> = headers.iter().flat_map(|header| ["-H", header]).collect();
    let (server, _) = ask(mesh, "/kept", &arguments)?;
    for (name, value) in said {
        ensure!(server[name] == value, "{name}: {} is not {value:?}", server[name]);
    }

    // Each try has its number, and the application is told the deadline.
    let arguments = ["-H", "x-key: tries", "-H", "x-envoy-attempt-count: 77"];
    let (server, reply) = ask(mesh, "/retried?fail=1", &arguments)?;
    ensure!(reply.status == 200, "{reply:?}");
    let tries: u64 = server["x-envoy-attempt-count"].as_str().unwrap_or_default().parse()?;
    ensure!((2..=4).contains(&tries), "each version of the server fails the first it sees: {server}");
    ensure!(server["x-envoy-expected-rq-timeout-ms"] == "9000", "{server}");
    Ok(())
}

/// Objects of the log of node-1 in which a path stands.
fn objects(mesh: &Mesh, path: &str) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    eventually(Duration::from_secs(10), || {
        let lines = mesh.access_log("node-1", path)?;
        found = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(!found.is_empty())
    })
    .with_context(|| format!("no object of {path}"))?;
    Ok(found)
}

fn mesh_config(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {}\n", line.trim())).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: heddle, namespace: heddle-system}}\ndata:\n  mesh: |\n{}",
        lines.concat()
    )
}

/// After the text: the only one that looks into the log meanwhile is this.
pub(crate) fn json_log(mesh: &Mesh) -> Result<()> {
    mesh.apply(&mesh_config("accessLogFile: /dev/stdout\naccessLogEncoding: JSON"))?;
    mesh.call("http://logged/as-json?x=1", &["-A", "probe/1.0", "-d", "body"])?;
    let all = objects(mesh, "/as-json?x=1")?;
    let ours =
        all.iter().find(|each| each["upstream_cluster"].as_str().unwrap_or_default().starts_with("outbound"));
    let ours = ours.with_context(|| format!("no line of the client's side: {all:?}"))?;
    for (key, want) in [
        ("method", json!("POST")),
        ("path", json!("/as-json?x=1")),
        ("protocol", json!("HTTP/1.1")),
        ("response_code", json!(200)),
        ("response_code_details", json!("via_upstream")),
        ("response_flags", json!("-")),
        ("bytes_received", json!(4)),
        ("authority", json!("logged")),
        ("user_agent", json!("probe/1.0")),
        ("x_forwarded_for", Value::Null),
        ("upstream_transport_failure_reason", Value::Null),
        ("upstream_cluster", json!("outbound|80||logged.default.svc.cluster.local")),
        ("route_name", json!("default")),
    ] {
        ensure!(ours[key] == want, "{key}: {} is not {want}: {ours}", ours[key]);
    }
    for key in ["bytes_sent", "duration"] {
        ensure!(ours[key].is_u64(), "{key} is a number: {ours}");
    }
    ensure!(ours.as_object().map(serde_json::Map::len) == Some(24), "Istio's 24 fields: {ours}");
    let own = "accessLogFile: /dev/stdout\naccessLogEncoding: JSON\naccessLogFormat: '{\"key\": \"%REQ(X-KEY)%\", \"took\": \"%DURATION%\", \"said\": \"%RESPONSE_CODE%/%RESP(X-VERSION)%\", \"p\": \"%REQ(:PATH)%\"}'";
    mesh.apply(&mesh_config(own))?;
    mesh.call("http://logged/own-json", &["-H", "x-key: shown"])?;
    let ours = objects(mesh, "/own-json")?;
    let said = ours[0]["said"].as_str().unwrap_or_default();
    ensure!(ours[0]["key"] == "shown" && ours[0]["took"].is_u64() && said.starts_with("200/v"), "{ours:?}");
    mesh.apply(&mesh_config("accessLogFile: /dev/stdout\naccessLogFormat: '%REQ(:METHOD)% %REQ(X-KEY)% %REQ(:PATH)% %RESPONSE_CODE%'"))?;
    mesh.call("http://logged/own-text", &["-H", "x-key: shown"])?;
    eventually(Duration::from_secs(10), || {
        Ok(mesh.access_log("node-1", "/own-text")?.iter().any(|line| line == "GET shown /own-text 200"))
    })
    .context("no line in the format of our own")?;
    mesh.apply(&mesh_config("accessLogFile: /dev/stdout"))?;
    Ok(())
}
