//! Who is set aside, why, how long, and how many.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;
use serde_json::Value;

use super::{requests, rule, service, status, versions};

/// Host, server, outlierDetection. Nobody is nearer than the others, and turns are taken.
const HOSTS: &[(&str, &str, &str)] = &[
    (
        "out-5xx",
        "place",
        "consecutive5xxErrors: 3, maxEjectionPercent: 100, baseEjectionTime: 300s, interval: 1s",
    ),
    (
        "out-gateway",
        "place",
        "consecutiveGatewayErrors: 3, consecutive5xxErrors: 0, maxEjectionPercent: 100, baseEjectionTime: 300s",
    ),
    (
        "out-split",
        "half",
        "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, maxEjectionPercent: 100, baseEjectionTime: 300s",
    ),
    (
        "out-apart",
        "half",
        "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 1000, consecutive5xxErrors: 1, maxEjectionPercent: 100",
    ),
    ("out-mixed", "half", "consecutive5xxErrors: 2, maxEjectionPercent: 100, baseEjectionTime: 300s"),
    (
        "out-longer",
        "place",
        "consecutive5xxErrors: 1, maxEjectionPercent: 100, baseEjectionTime: 1s, interval: 6s",
    ),
    ("out-some", "place", "consecutive5xxErrors: 1, maxEjectionPercent: 66, baseEjectionTime: 300s"),
    (
        "out-panic",
        "place",
        "consecutive5xxErrors: 1, maxEjectionPercent: 100, minHealthPercent: 60, baseEjectionTime: 300s",
    ),
];

pub(super) fn objects() -> String {
    let mut all = String::new();
    for (host, app, outliers) in HOSTS {
        all += &service(host, app, 8080);
        let balancer = "loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: {enabled: false}}";
        all += &rule(host, &format!("{balancer}, outlierDetection: {{{outliers}}}"));
    }
    // One that listens where the service leads, and one that does not.
    for (name, port) in [("hears", 8080), ("deaf", 8099)] {
        all += &format!(
            "\n---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: half, version: {name}}}}}, spec: \
             {{nodeName: node-2, containers: [{{name: http, image: heddle-probe, args: [http-server, --port, '{port}', --version, \
             {name}]}}]}}}}"
        );
    }
    all
}

/// The endpoints of a host that are set aside, by name, as `heddle config endpoints` shows them.
fn ejected(mesh: &Mesh, host: &str) -> Result<Vec<(String, Value)>> {
    let shown = mesh.sandbox.run(&["config", "endpoints", "client", "-o", "json"])?;
    let clusters: Vec<Value> = serde_json::from_str(&shown)?;
    let name = format!("outbound|80||{host}.default.svc.cluster.local");
    let cluster = clusters.iter().find(|cluster| cluster["cluster"] == *name).context(name)?;
    let endpoints = cluster["endpoints"].as_array().into_iter().flatten();
    let aside = endpoints.filter(|endpoint| endpoint["ejected"].is_object());
    Ok(aside
        .map(|each| (each["name"].as_str().unwrap_or_default().to_owned(), each["ejected"].clone()))
        .collect())
}

/// One endpoint, for this reason.
fn one(mesh: &Mesh, host: &str, name: &str, cause: &str) -> Result<()> {
    let aside = ejected(mesh, host)?;
    ensure!(aside.len() == 1 && aside[0].0 == name && aside[0].1["cause"] == cause, "{host}: {aside:?}");
    let table = mesh.sandbox.run(&["config", "endpoints", "client"])?;
    let row =
        table.lines().any(|line| line.contains(host) && line.contains(name) && line.contains("EJECTED"));
    ensure!(row && table.contains(cause), "{table}");
    Ok(())
}

pub(super) fn errors(mesh: &Mesh) -> Result<()> {
    let tally = requests(mesh, "http://out-5xx/?fail=1&at=near&code=500", 30)?;
    ensure!(status(&tally, 500) == 3 && status(&tally, 200) == 27, "three in a row are enough: {tally}");
    one(mesh, "out-5xx", "near", "consecutive_5xx")?;
    let tally = requests(mesh, "http://out-gateway/?fail=1&at=mid&code=500", 30)?;
    ensure!(status(&tally, 500) == 10, "a 500 is no gateway's error: {tally}");
    ensure!(ejected(mesh, "out-gateway")?.is_empty(), "nobody is set aside yet");
    let tally = requests(mesh, "http://out-gateway/?fail=1&at=mid&code=502", 30)?;
    ensure!(status(&tally, 502) == 3, "{tally}");
    one(mesh, "out-gateway", "mid", "consecutive_gateway_failure")
}

pub(super) fn local_origin(mesh: &Mesh) -> Result<()> {
    for (host, cause) in [
        ("out-split", Some("consecutive_local_origin_failure")),
        ("out-mixed", Some("consecutive_5xx")),
        ("out-apart", None),
    ] {
        let tally = requests(mesh, &format!("http://{host}/"), 12)?;
        ensure!(versions(&tally) == [("hears", 12)], "what fails to connect goes elsewhere: {tally}");
        match cause {
            Some(cause) => one(mesh, host, "deaf", cause)?,
            None => ensure!(ejected(mesh, host)?.is_empty(), "{host}: connections do not count as answers"),
        }
    }
    Ok(())
}

pub(super) fn growth(mesh: &Mesh) -> Result<()> {
    let fail = |mesh: &Mesh| requests(mesh, "http://out-longer/?fail=1&at=far&code=500", 6);
    let mut times = Vec::new();
    // As soon as it is back it fails again, before a sweep has found it in use.
    let grown = eventually(Duration::from_secs(120), || {
        fail(mesh)?;
        let aside = ejected(mesh, "out-longer")?;
        times.extend(aside.first().and_then(|(_, ejected)| ejected["times"].as_u64()));
        Ok(times.last() >= Some(&3))
    });
    times.dedup();
    ensure!(grown.is_ok() && times.ends_with(&[1, 2, 3]), "{times:?}");
    let back = eventually(Duration::from_secs(60), || {
        requests(mesh, "http://out-longer/", 3)?;
        Ok(ejected(mesh, "out-longer")?.is_empty())
    });
    ensure!(back.is_ok(), "it comes back once it answers");
    Ok(())
}

pub(super) fn bounds(mesh: &Mesh) -> Result<()> {
    requests(mesh, "http://out-some/?fail=1&code=500", 30)?;
    let aside = ejected(mesh, "out-some")?;
    ensure!(aside.len() == 1, "one of three is 33 %, two are more than 66 %: {aside:?}");
    // Two of three are set aside: a third is less than 60 %, so all three are asked.
    for pod in ["near", "mid"] {
        requests(mesh, &format!("http://out-panic/?fail=1&code=500&at={pod}"), 12)?;
    }
    let aside = ejected(mesh, "out-panic")?;
    ensure!(aside.len() == 2, "{aside:?}");
    let tally = requests(mesh, "http://out-panic/", 30)?;
    ensure!(versions(&tally).len() == 3, "too few are healthy to do without the rest: {tally}");
    Ok(())
}
