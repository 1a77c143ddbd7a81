//! Preference by place: priorities, shares, labels, what a service prefers, and who is new.
//!
//! `near` is in the zone of the client's node, `mid` in the other zone, and `far` says that it is in another region.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;
use serde_json::Value;

use super::{requests, rule, service, versions};

const OUTLIERS: &str =
    "outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100, baseEjectionTime: 300s}";
/// Of `eased`.
const WARMUP: Duration = Duration::from_secs(30);
/// Host and policy.
const HOSTS: &[(&str, &str)] = &[
    ("fails-over", ""),
    ("disabled", ", loadBalancer: {localityLbSetting: {enabled: false}}"),
    ("by-rank", ", loadBalancer: {localityLbSetting: {failoverPriority: ['rank=gold']}}"),
    (
        "by-zone",
        ", loadBalancer: {localityLbSetting: {failoverPriority: [topology.kubernetes.io/region, topology.kubernetes.io/zone]}}",
    ),
    ("to-r2", ", loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r2}]}}"),
];
/// Host, `from` and `to`.
const SHARES: &[(&str, &str)] = &[
    ("spread", "from: 'r1/z1/*', to: {'r1/z1/*': 70, 'r1/z2/*': 20, 'r2/*': 10}"),
    ("sent-away", "from: 'r1/*', to: {'r2/z3/*': 100}"),
    ("elsewhere-only", "from: 'r9/*', to: {'r2/*': 100}"),
];
/// Host, fields of its metadata, and of its spec.
const SERVICES: &[(&str, &str, &str)] = &[
    ("close", "", ", trafficDistribution: PreferClose"),
    ("same-zone", "", ", trafficDistribution: PreferSameZone"),
    ("same-node", "", ", trafficDistribution: PreferSameNode"),
    ("annotated", ", annotations: {networking.istio.io/traffic-distribution: PreferClose}", ""),
    ("overruled", "", ", trafficDistribution: PreferClose"),
    ("local", "", ", internalTrafficPolicy: Local"),
];

pub(super) fn objects() -> String {
    let mut all = String::new();
    for (host, more) in HOSTS {
        all += &service(host, "place", 8080);
        all += &rule(host, &format!("{OUTLIERS}{more}"));
    }
    for (host, share) in SHARES {
        all += &service(host, "place", 8080);
        let setting = format!("localityLbSetting: {{distribute: [{{{share}}}]}}");
        all += &rule(host, &format!("loadBalancer: {{simple: ROUND_ROBIN, {setting}}}"));
    }
    for (host, metadata, spec) in SERVICES {
        all += &format!(
            "\n---\n{{apiVersion: v1, kind: Service, metadata: {{name: {host}{metadata}}}, spec: {{selector: {{app: place}}, \
             ports: [{{name: http, port: 80, targetPort: 8080}}]{spec}}}}}"
        );
    }
    all += &rule("overruled", "loadBalancer: {localityLbSetting: {enabled: false}}");
    all += &service("eased", "eased", 8080);
    all += &rule("eased", "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s}}");
    all + &newcomer("first")
}

fn newcomer(name: &str) -> String {
    format!(
        "\n---\n{{apiVersion: v1, kind: Pod, metadata: {{name: eased-{name}, labels: {{app: eased, version: {name}}}}}, spec: \
         {{nodeName: node-2, containers: [{{name: http, image: heddle-probe, args: [http-server, --version, {name}], \
         readinessProbe: {{httpGet: {{port: 8080}}, periodSeconds: 1}}}}]}}}}"
    )
}

fn from(mesh: &Mesh, pod: &str, host: &str, count: u64) -> Result<Value> {
    let url = format!("http://{host}/");
    mesh.probe_from("default", pod, &["requests", &url, "--count", &count.to_string(), "--connections", "2"])
}

/// Who answers a client, no more and no less.
fn only(mesh: &Mesh, (pod, host): (&str, &str), wanted: &[&str]) -> Result<()> {
    let tally = from(mesh, pod, host, 40)?;
    let mut found: Vec<&str> = versions(&tally).into_iter().map(|(version, _)| version).collect();
    found.sort_unstable();
    ensure!(found == wanted && tally["ok"] == 40, "{pod} to {host}: {tally}");
    Ok(())
}

pub(super) fn failover(mesh: &Mesh) -> Result<()> {
    // Each host of its own: what is set aside for one pod of an identity is so for all of its pods on a node.
    only(mesh, ("batch", "fails-over"), &["mid"])?;
    for host in ["fails-over", "to-r2"] {
        only(mesh, ("client", host), &["near"])?;
        for (failing, next) in [("near", "mid"), ("mid", "far")] {
            requests(mesh, &format!("http://{host}/?fail=1&code=500&at={failing}"), 1)?;
            only(mesh, ("client", host), &[next])?;
        }
    }
    Ok(())
}

pub(super) fn distribute(mesh: &Mesh) -> Result<()> {
    let tally = requests(mesh, "http://spread/", 200)?;
    for (version, wanted) in [("near", 140), ("mid", 40), ("far", 20)] {
        let count = tally["versions"][version].as_u64().unwrap_or(0);
        ensure!(count.abs_diff(wanted) <= 8, "{version}: {tally}");
    }
    only(mesh, ("client", "sent-away"), &["far"])?;
    only(mesh, ("client", "elsewhere-only"), &["far", "mid", "near"])
}

pub(super) fn labels(mesh: &Mesh) -> Result<()> {
    only(mesh, ("client", "by-rank"), &["far", "near"])?;
    only(mesh, ("client", "by-zone"), &["near"])?;
    only(mesh, ("batch", "by-zone"), &["mid"])?;
    only(mesh, ("client", "disabled"), &["far", "mid", "near"])
}

pub(super) fn distribution(mesh: &Mesh) -> Result<()> {
    for host in ["close", "same-zone", "same-node", "annotated", "local"] {
        only(mesh, ("client", host), &["near"])?;
    }
    for host in ["close", "same-zone", "same-node", "annotated"] {
        only(mesh, ("batch", host), &["mid"])?;
    }
    only(mesh, ("batch", "local"), &["far", "mid"])?;
    only(mesh, ("client", "overruled"), &["far", "mid", "near"])
}

pub(super) fn warmup(mesh: &Mesh) -> Result<()> {
    only(mesh, ("client", "eased"), &["first"])?;
    std::thread::sleep(WARMUP);
    let begun = Instant::now();
    mesh.apply(&newcomer("second"))?;
    mesh.sandbox.run(&["sandbox", "wait", "-A", "--for", "ready", "--timeout", "60s"])?;
    mesh.sandbox.synced()?;
    let count = |tally: &Value| tally["versions"]["second"].as_u64().unwrap_or(0);
    let tally = requests(mesh, "http://eased/", 200)?;
    // Its part grows with time, from a tenth on.
    let part = (begun.elapsed().as_secs_f64() / WARMUP.as_secs_f64()).clamp(0.1, 1.0);
    let most = (200.0 * part / (1.0 + part)) as u64 + 4;
    ensure!((10..=most).contains(&count(&tally)), "{part} of its weight is {most} at the most: {tally}");
    let warm = eventually(WARMUP * 2, || Ok(count(&requests(mesh, "http://eased/", 100)?) >= 49));
    ensure!(warm.is_ok(), "it is as good as the other by now");
    Ok(())
}
