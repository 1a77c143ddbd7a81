//! What keeps requests that belong together at one endpoint.

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use serde_json::Value;

use super::{rule, service, versions};

/// What is hashed.
const KEYS: &[(&str, &str)] = &[
    ("header", "httpHeaderName: x-user"),
    ("cookie", "httpCookie: {name: session, ttl: 60s, path: /}"),
    ("lasting", "httpCookie: {name: session, ttl: 0s}"),
    ("query", "httpQueryParameterName: user"),
    ("source", "useSourceIp: true"),
];
/// How hashes are spread.
const RINGS: &[(&str, &str)] = &[
    ("ring", ""),
    ("small", ", ringHash: {minimumRingSize: 3}"),
    ("large", ", ringHash: {minimumRingSize: 65536}"),
    ("old", ", minimumRingSize: 2048"),
    ("maglev", ", maglev: {}"),
    ("prime", ", maglev: {tableSize: 251}"),
];

pub(super) fn objects() -> String {
    let mut all = String::new();
    for (key, hashed) in KEYS {
        for (ring, spread) in RINGS {
            let host = format!("{key}-{ring}");
            all += &service(&host, "place", 8080);
            all += &rule(&host, &format!("loadBalancer: {{consistentHash: {{{hashed}{spread}}}}}"));
        }
    }
    all
}

fn asked(mesh: &Mesh, host: &str, header: &[&str], count: u64) -> Result<Value> {
    let url = format!("http://{host}/?user=7");
    let argv = ["requests", &url, "--count", &count.to_string(), "--connections", "4"];
    mesh.probe(&[&argv[..], header].concat())
}

pub(super) fn sticky(mesh: &Mesh) -> Result<()> {
    for (ring, _) in RINGS {
        for (key, header) in [("header", "x-user={}"), ("cookie", "cookie=session={}; other=1")] {
            let host = format!("{key}-{ring}");
            let (first, second) = (
                asked(mesh, &host, &["--header", header], 60)?,
                asked(mesh, &host, &["--header", header], 60)?,
            );
            ensure!(
                first["ok"] == 60 && first["by_number"] == second["by_number"],
                "{host}: {first}, {second}"
            );
            // A ring of three points may leave somebody out.
            let most = versions(&first).len();
            ensure!(most == 3 || *ring == "small" && most >= 1, "{host}: {first}");
        }
        for key in ["query", "source"] {
            let host = format!("{key}-{ring}");
            let tally = asked(mesh, &host, &[], 20)?;
            ensure!(versions(&tally).len() == 1 && tally["ok"] == 20, "{host}: {tally}");
        }
    }
    let without = asked(mesh, "header-ring", &[], 60)?;
    ensure!(versions(&without).len() == 3, "what lacks the header goes anywhere: {without}");
    Ok(())
}

pub(super) fn cookie(mesh: &Mesh) -> Result<()> {
    for (host, attributes) in
        [("cookie-ring", "; Max-Age=60; Path=/; HttpOnly"), ("lasting-ring", "; HttpOnly")]
    {
        let url = format!("http://{host}/");
        let first = mesh.call(&url, &[])?;
        let made = first.header("set-cookie").unwrap_or_default();
        ensure!(made.starts_with("session=\"") && made.ends_with(attributes), "{host}: {made}");
        ensure!(attributes.contains("Max-Age") || !made.contains("Max-Age"), "{host}: {made}");
        let (pair, _) = made.split_once(';').unwrap_or_default();
        let version = first.json()?["version"].clone();
        for _ in 0..6 {
            let again = mesh.call(&url, &["-H", &format!("cookie: {pair}")])?;
            ensure!(again.json()?["version"] == version, "{host}: {pair} went elsewhere: {again:?}");
            ensure!(again.header("set-cookie").is_none(), "{host}: it has one: {again:?}");
        }
    }
    Ok(())
}
