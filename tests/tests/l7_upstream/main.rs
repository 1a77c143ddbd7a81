//! DestinationRule and ServiceEntry: which endpoints there are, which is chosen, and when it is enough.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;
use heddle_tests::suite::{self, Case};
use serde_json::Value;

const HOSTS: &[&str] = &[
    "turns", "chance", "least", "dialled", "hashed", "cookie", "query", "source", "breaker", "outlier",
    "plain",
];

const CASES: &[Case<Mesh>] = &[
    ("each_load_balancer_spreads_as_it_says", spread),
    ("passthrough_goes_to_the_pod_that_was_dialled", passthrough),
    ("consistent_hashes_stick_by_header_cookie_query_and_source", sticky),
    ("a_circuit_breaker_answers_503_uo", breaker),
    ("an_outlier_is_set_aside_and_comes_back", outlier),
    ("tls_disable_goes_in_clear", tls),
    ("tls_simple_is_originated", originated),
    ("a_service_entry_stands_for_the_pods_that_it_selects", entries),
];

fn main() -> ExitCode {
    suite::run(|| Mesh::up("t-l7-up", HOSTS, include_str!("upstream.yaml")), 3, CASES)
}

fn pods(tally: &Value) -> Vec<u64> {
    let counts = tally["pods"].as_object().into_iter().flatten();
    counts.filter_map(|(_, count)| count.as_u64()).collect()
}

fn spread(mesh: &Mesh) -> Result<()> {
    for (host, least, most) in [("turns", 98, 102), ("chance", 60, 140), ("least", 60, 140)] {
        let url = format!("http://{host}/");
        let tally = mesh.probe(&["requests", &url, "--count", "300", "--connections", "1"])?;
        let counts = pods(&tally);
        let fair = counts.len() == 3 && counts.iter().all(|count| (least..=most).contains(count));
        // Each worker takes turns of its own, but one connection stays on one worker.
        ensure!(fair, "{host}: {counts:?} of 300");
    }
    Ok(())
}

fn passthrough(mesh: &Mesh) -> Result<()> {
    let pod = mesh.sandbox.pod("default", "echo")?;
    let (name, ip) = (pod["metadata"]["name"].clone(), pod["status"]["podIP"].as_str().context("podIP")?);
    for _ in 0..6 {
        let said = mesh.call(&format!("http://{ip}:8080/"), &["-H", "host: dialled"])?.json()?;
        ensure!(said["pod"] == name, "dialled {name}, answered by {said}");
    }
    Ok(())
}

fn sticky(mesh: &Mesh) -> Result<()> {
    for (url, header) in [("http://hashed/", "x-user={}"), ("http://cookie/", "cookie=session={}")] {
        let asked = || mesh.probe(&["requests", url, "--count", "60", "--header", header]);
        let (first, second) = (asked()?, asked()?);
        ensure!(first["by_number"] == second["by_number"], "{url}: the same key went elsewhere");
        ensure!(pods(&first).len() == 3, "{url}: {:?}", first["pods"]);
    }
    for url in ["http://query/?user=7", "http://source/"] {
        let tally = mesh.probe(&["requests", url, "--count", "30"])?;
        ensure!(pods(&tally) == [30], "{url}: {:?}", tally["pods"]);
    }
    let given = mesh.call("http://cookie/", &[])?;
    let cookie = given.header("set-cookie").unwrap_or_default();
    ensure!(cookie.starts_with("session="), "{given:?}");
    Ok(())
}

fn breaker(mesh: &Mesh) -> Result<()> {
    let argv = ["requests", "http://breaker/?delay=500", "--count", "30", "--connections", "30"];
    let tally = mesh.probe(&argv)?;
    let refused = tally["statuses"]["503"].as_u64().unwrap_or(0);
    let served = tally["statuses"]["200"].as_u64().unwrap_or(0);
    ensure!(refused > 0 && served >= 1 && refused + served == 30, "{}", tally["statuses"]);
    let flagged = eventually(Duration::from_secs(3), || {
        Ok(mesh.access_log("node-1", "breaker")?.iter().any(|line| line.contains(" 503 UO ")))
    });
    ensure!(flagged.is_ok(), "no 503 UO in the access log");
    ensure!(mesh.call("http://breaker/", &[])?.status == 200, "it opens again");
    Ok(())
}

fn outlier(mesh: &Mesh) -> Result<()> {
    // The first three errors come from whoever answers; then v2 alone answers 503 until it is set aside.
    let pod = mesh.sandbox.list("default", "pods")?;
    let pod = pod.iter().find(|pod| pod["metadata"]["labels"]["version"] == "v2").context("v2")?;
    let ip = pod["status"]["podIP"].as_str().context("podIP")?.to_owned();
    let argv = ["requests", "http://outlier/?status=503", "--count", "40", "--connections", "2"];
    mesh.probe(&argv)?;
    let shown = mesh.sandbox.run(&["config", "endpoints", "client", "-o", "json"])?;
    let clusters: Vec<Value> = serde_json::from_str(&shown)?;
    let ejected = clusters
        .iter()
        .filter(|cluster| cluster["cluster"] == "outbound|80||outlier.default.svc.cluster.local")
        .flat_map(|cluster| cluster["endpoints"].as_array().cloned().unwrap_or_default())
        .filter(|endpoint| endpoint["ejected"].is_object())
        .count();
    ensure!(ejected >= 1, "nobody is set aside ({ip}): {shown}");
    let back = eventually(Duration::from_secs(12), || {
        let tally = mesh.probe(&["requests", "http://outlier/", "--count", "30"])?;
        Ok(pods(&tally).len() == 3 && tally["ok"] == 30)
    });
    ensure!(back.is_ok(), "it does not come back");
    Ok(())
}

fn tls(mesh: &Mesh) -> Result<()> {
    let plain = mesh.call("http://plain/", &[])?;
    let told = plain.json()?["headers"]["x-forwarded-client-cert"].clone();
    ensure!(plain.status == 200 && told.is_null(), "nobody proved an identity in clear: {plain:?}");
    Ok(())
}

fn originated(mesh: &Mesh) -> Result<()> {
    let secure = mesh.call("http://secure.outside/", &[])?;
    let said = secure.json()?;
    ensure!(said["tls"]["version"] == "TLSv1.3", "{secure:?}");
    Ok(())
}

fn entries(mesh: &Mesh) -> Result<()> {
    let argv = ["--resolve", "fixed.example.com:80:240.1.0.1"];
    let mut versions = std::collections::BTreeSet::new();
    for _ in 0..12 {
        let reply = mesh.call("http://fixed.example.com/", &argv)?;
        versions.extend(reply.json()?["version"].as_str().map(str::to_owned));
    }
    ensure!(versions.len() == 3, "the pods that it selects: {versions:?} answered");
    Ok(())
}
