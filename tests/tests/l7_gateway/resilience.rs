//! Copies of requests, deadlines, and requests that are sent again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;
use serde_json::Value;

use crate::seen::get;

/// Requests with an `x-key` that a version has seen.
fn seen_by(mesh: &Mesh, version: &str, key: &str) -> Result<u64> {
    let argv = ["curl", "-sS", "-m", "5", &format!("http://127.0.0.1:8080/seen/{key}")];
    let output = mesh.sandbox.exec("default", &format!("deploy/echo-{version}"), &argv)?;
    let said: Value = serde_json::from_slice(&output.stdout)?;
    said["seen"].as_u64().context("seen")
}

pub(crate) fn mirrors(mesh: &Mesh) -> Result<()> {
    let arrives = |key: &str, want: [u64; 3]| {
        let mut got = [0; 3];
        let all = eventually(Duration::from_secs(10), || {
            got = [seen_by(mesh, "v1", key)?, seen_by(mesh, "v2", key)?, seen_by(mesh, "v3", key)?];
            Ok(got == want)
        });
        all.map(drop).with_context(|| format!("{key}: seen {got:?}, not {want:?}"))
    };
    get(mesh, "http://mirrored/one", "-H x-key:m-one -H x-gone:1")?
        .by("v1")?
        .sent("x-set", "set")?
        .sent("x-gone", "-")?;
    get(mesh, "http://mirrored/many", "-H x-key:m-many -d body")?.by("v1")?;
    get(mesh, "http://mirrored/backend", "-H x-key:m-backend")?.by("v1")?;
    get(mesh, "http://mirrored/none", "-H x-key:m-none")?.by("v1")?;
    arrives("m-one", [1, 1, 0])?;
    arrives("m-many", [1, 1, 1])?;
    arrives("m-backend", [1, 1, 0])?;
    arrives("m-none", [1, 0, 0])
}

/// Of 500: six standard deviations are 54 of 100 and 67 of 250.
pub(crate) fn shares_of_mirrors(mesh: &Mesh) -> Result<()> {
    for (path, mean, most) in [("percent", 100, 54), ("fraction", 250, 67)] {
        let header = format!("x-key=m-{path}");
        let url = format!("http://mirrored/{path}");
        let tally = mesh.probe(&["requests", &url, "--count", "500", "--header", &header])?;
        ensure!(tally["ok"] == 500, "{tally}");
        let mut copies = 0_u64;
        let key = format!("m-{path}");
        let near = eventually(Duration::from_secs(10), || {
            copies = seen_by(mesh, "v2", &key)?;
            Ok(copies.abs_diff(mean) < most)
        });
        near.with_context(|| format!("{path}: {copies} copies of 500, not about {mean}"))?;
        ensure!(seen_by(mesh, "v1", &key)? == 500);
    }
    Ok(())
}

pub(crate) fn deadlines(mesh: &Mesh) -> Result<()> {
    for (path, status) in [
        ("request", 200),
        ("backend", 200),
        ("request?delay=5000", 504),
        ("backend?delay=5000", 504),
        ("request-none?delay=1500", 200),
        ("backend-none?delay=1500", 200),
    ] {
        get(mesh, &format!("http://late/{path}"), "")?.status(status)?;
    }
    Ok(())
}

pub(crate) fn retries(mesh: &Mesh) -> Result<()> {
    for (at, (path, status, tries)) in [
        ("500-3?fail=2&code=500", 200, 3),
        ("500-3?fail=9&code=500", 500, 4),
        ("500-3?fail=2&code=503", 503, 1),
        ("all-2?fail=1&code=502", 200, 2),
        ("all-2?fail=9&code=502", 502, 3),
        ("all-2?fail=2&code=503", 200, 3),
        ("all-2?fail=9&code=504", 504, 3),
        ("none?fail=1&code=500", 500, 1),
        // Connection errors need no code: connections that are cut, tries that take too long.
        ("any-3?reset=2", 200, 3),
        ("any-3?reset=9", 503, 4),
        ("tries-1s?delay=5000&late=2", 200, 3),
        ("tries-1s?delay=5000&late=9", 504, 3),
        ("whole-2s?fail=1&code=500", 200, 2),
        ("whole-2s?delay=700&fail=9&code=500", 504, 3),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("retry-{at}");
        get(mesh, &format!("http://retried/{path}"), &format!("-H x-key:{key}"))?.status(status)?;
        let seen = seen_by(mesh, "v1", &key)?;
        ensure!(seen == tries, "{path}: sent {seen} times, not {tries}");
    }
    // No pause is shorter than `backoff`.
    let paused = get(mesh, "http://retried/paused?fail=2", "-H x-key:retry-paused")?.status(200)?;
    ensure!(paused.reply().seconds >= 0.8, "two pauses of 400 ms: {:?}", paused.reply());
    Ok(())
}

pub(crate) fn cors(mesh: &Mesh) -> Result<()> {
    let asks = "-X OPTIONS -H access-control-request-method:";
    let both = "-H access-control-request-headers:x-header-1,x-header-2";
    let call = |path: &str, arguments: &str| get(mesh, &format!("http://shared{path}"), arguments);
    for origin in ["https://www.foo.com", "https://www.bar.com", "https://xpto.www.bar.com"] {
        call("/cors-1", &format!("{asks}GET {both} -H origin:{origin}"))?
            .status(200)?
            .got("access-control-allow-origin", origin)?
            .got("access-control-allow-methods", "GET,OPTIONS")?
            .got("access-control-allow-headers", "x-header-1,x-header-2")?
            .got("access-control-expose-headers", "x-header-3,x-header-4")?
            .got("access-control-max-age", "3600")?
            .got("access-control-allow-credentials", "true")?
            .got("x-version", "-")?;
        call("/cors-1", &format!("-H origin:{origin}"))?
            .by("v1")?
            .got("access-control-allow-origin", origin)?
            .got("access-control-expose-headers", "x-header-3,x-header-4")?;
    }
    for origin in ["https://foobar.com", "http://www.foo.com", "https://bar.com", "https://www.foo.com:8443"]
    {
        let preflight = call("/cors-1", &format!("{asks}GET -H origin:{origin}"))?;
        preflight.got("access-control-allow-origin", "-")?.got("x-version", "-")?;
        call("/cors-1", &format!("-H origin:{origin}"))?.by("v1")?.got("access-control-allow-origin", "-")?;
    }
    call("/cors-2", &format!("{asks}POST -H origin:https://www.foo.com"))?
        .got("access-control-allow-methods", "POST")?
        .got("access-control-allow-credentials", "-")?;
    for origin in ["https://foobar.com", "https://foobar.com:12345"] {
        call("/cors-any", &format!("{asks}PUT -H origin:{origin}"))?
            .got("access-control-allow-origin", origin)?
            .got("access-control-allow-methods", "PUT")?
            .got("access-control-allow-credentials", "-")?;
        call("/cors-any", &format!("-X PUT -H origin:{origin}"))?
            .by("v1")?
            .got("access-control-allow-origin", origin)?;
    }
    call("/cors-all", &format!("{asks}PUT {both} -H origin:https://other.foo.com"))?
        .got("access-control-allow-origin", "https://other.foo.com")?
        .got("access-control-allow-methods", "PUT")?
        .got("access-control-allow-headers", "x-header-1,x-header-2")?
        .got("access-control-allow-credentials", "true")?;
    Ok(())
}
