//! What a rule changes, answers itself, or copies.

use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;

pub(crate) fn rewrites(mesh: &Mesh) -> Result<()> {
    for (path, arrives, host) in [
        ("/api/items?x=1", "/v2/items?x=1", "other.example.com"),
        ("/users/42/posts?x=1", "/posts/of/42?x=1", "changes"),
        ("/whole?x=1", "/replaced?x=1", "changes"),
    ] {
        let said = mesh.call(&format!("http://changes{path}"), &[])?.json()?;
        ensure!(said["path"] == arrives && said["host"] == host, "{path}: {said}");
    }
    Ok(())
}

pub(crate) fn answers(mesh: &Mesh) -> Result<()> {
    let moved = mesh.call("http://changes/go/on?x=1", &[])?;
    let place = moved.header("location").unwrap_or_default();
    ensure!(moved.status == 308 && place == "https://elsewhere.example.com/gone?x=1", "{moved:?}");
    let port = mesh.call("http://changes/port", &[])?;
    ensure!(port.status == 301, "{port:?}");
    ensure!(port.header("location").as_deref() == Some("http://changes:8443/port"), "{port:?}");
    let teapot = mesh.call("http://changes/teapot", &[])?;
    ensure!(teapot.status == 418 && teapot.body == "short and stout", "{teapot:?}");
    let head = mesh.call("http://changes/teapot", &["-I"])?;
    ensure!(head.status == 418, "{head:?}");
    Ok(())
}

pub(crate) fn headers(mesh: &Mesh) -> Result<()> {
    let sent = ["-H", "x-set: mine", "-H", "x-add: mine", "-H", "x-remove: mine"];
    let reply = mesh.call("http://changes/headers", &sent)?;
    let said = reply.json()?["headers"].clone();
    ensure!(said["x-set"] == "rule" && said["x-remove"].is_null(), "{said}");
    let mut added: Vec<&str> = said["x-add"].as_str().unwrap_or_default().split(',').collect();
    added.sort_unstable();
    ensure!(added == ["backend", "mine", "rule"], "{said}");
    ensure!(reply.header("x-answer").as_deref() == Some("rule"), "{reply:?}");
    ensure!(reply.header("x-more").as_deref() == Some("backend"), "{reply:?}");
    ensure!(reply.header("x-upstream").is_none() && reply.header("x-version").is_some(), "{reply:?}");
    // What Istio's users look for on every request.
    for name in ["x-request-id", "x-forwarded-proto"] {
        ensure!(said[name].is_string(), "{name} is not in {said}");
    }
    ensure!(reply.header("x-envoy-upstream-service-time").is_some(), "{reply:?}");
    Ok(())
}

pub(crate) fn cors(mesh: &Mesh) -> Result<()> {
    for origin in ["https://good.example.com", "https://very.fine.example.com"] {
        let asked = format!("origin: {origin}");
        let preflight = ["-X", "OPTIONS", "-H", &asked, "-H", "access-control-request-method: PUT"];
        let answer = mesh.call("http://changes/cors", &preflight)?;
        ensure!(answer.status == 200 && answer.header("x-version").is_none(), "{answer:?}");
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET,PUT"),
            ("access-control-allow-headers", "x-mine"),
            ("access-control-max-age", "86400"),
            ("access-control-allow-credentials", "true"),
        ] {
            ensure!(answer.header(name).as_deref() == Some(value), "{name}: {answer:?}");
        }
        let simple = mesh.call("http://changes/cors", &["-H", &asked])?;
        ensure!(simple.header("access-control-allow-origin").as_deref() == Some(origin), "{simple:?}");
        ensure!(simple.header("access-control-expose-headers").as_deref() == Some("x-version"), "{simple:?}");
    }
    let other = mesh.call("http://changes/cors", &["-H", "origin: https://evil.example.com"])?;
    ensure!(other.status == 200 && other.header("access-control-allow-origin").is_none(), "{other:?}");
    Ok(())
}

pub(crate) fn mirrors(mesh: &Mesh) -> Result<()> {
    let requests = |path: &str, key: &str, count: &str| {
        let url = format!("http://mirrored{path}");
        mesh.probe(&["requests", &url, "--count", count, "--header", &format!("x-key={key}")])
    };
    // The copies go to servers that answer slowly, and that nobody waits for.
    let tally = requests("/", "mirror-all", "50")?;
    ensure!(tally["versions"]["v1"] == 50, "{tally}");
    let all = eventually(Duration::from_secs(5), || Ok(mesh.seen("mirror-all")? == 150));
    ensure!(all.is_ok(), "50 requests and two copies of each were seen {} times", mesh.seen("mirror-all")?);
    requests("/half", "mirror-half", "400")?;
    let some = eventually(Duration::from_secs(5), || Ok(mesh.seen("mirror-half")? > 540));
    let seen = mesh.seen("mirror-half")?;
    ensure!(some.is_ok() && seen < 660, "400 requests and copies of half of them were seen {seen} times");
    let said = mesh.call("http://mirrored/?delay=0", &[])?;
    ensure!(said.status == 200 && said.json()?["version"] == "v1", "{said:?}");
    Ok(())
}
