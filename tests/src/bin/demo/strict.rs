//! Steps 3 and 4: STRICT keeps everybody else out, and the applications see each other as if no mesh were there.

use std::time::Duration;

use anyhow::{Context, Result};
use heddle_tests::report::Report;
use heddle_tests::sandbox::{Sandbox, eventually};
use serde_json::Value;

use crate::stage::{NAMESPACE, Stage};

pub(crate) const NAMES: &[&str] = &[
    "outsider-gets-nothing",
    "raw-and-spoofed-dropped",
    "frontend-still-works",
    "dns-still-works",
    "probes-still-work",
];
pub(crate) const PEER_NAMES: &[&str] = &["server-sees-client-address", "client-sees-dialled-address"];

pub(crate) fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let sandbox = stage.sandbox()?;
    let backend = sandbox.pod_addresses(NAMESPACE, "backend")?;
    sandbox.run(&["sandbox", "apply", "-f", &stage.tutorial("14-peerauthentication-strict.yaml")])?;
    sandbox.synced()?;

    let before = drops(sandbox, &stage.server_node)?;
    let mut urls = vec!["http://backend.default".to_owned()];
    urls.extend(backend.iter().map(|ip| {
        if ip.contains(':') { format!("http://[{ip}]:5678") } else { format!("http://{ip}:5678") }
    }));
    let (mut delivered, mut answered) = (0, 0);
    for url in &urls {
        let output = sandbox.exec("outside", "deploy/outsider", &["curl", "-sS", "-m", "2", url])?;
        delivered += output.stdout.len();
        answered += usize::from(output.status.success());
    }
    let counted = drops(sandbox, &stage.server_node)? - before;
    let note = format!(
        "{} attempts over VIP, IPv4 and IPv6: {delivered} bytes came back, {counted} packets counted as dropped",
        urls.len()
    );
    report.check("outsider-gets-nothing", delivered == 0 && answered == 0 && counted >= 3, note);
    raw(stage, report, &backend)?;

    let load = stage.load(sandbox, &["--seconds", "2", "--rate", "100"])?;
    report.check(
        "frontend-still-works",
        load.failed == 0 && load.last_body.contains("Hello"),
        load.sentence(),
    );
    let lookup = sandbox.exec(
        NAMESPACE,
        "deploy/client",
        &["getent", "ahosts", "backend.default.svc.cluster.local"],
    )?;
    let answer = String::from_utf8_lossy(&lookup.stdout).into_owned();
    let first = answer.split_whitespace().next().unwrap_or_default().to_owned();
    report.check(
        "dns-still-works",
        lookup.status.success(),
        format!("backend.default.svc.cluster.local is {first}"),
    );
    probes(sandbox, report)
}

/// SYNs made by hand from the outsider: its own IPv6 address, and the client's addresses.
fn raw(stage: &Stage, report: &mut Report, backend: &[String]) -> Result<()> {
    let sandbox = stage.sandbox()?;
    let own = sandbox.pod_addresses("outside", "outsider")?;
    let client = sandbox.pod_addresses(NAMESPACE, "client")?;
    let before = drops(sandbox, &stage.server_node)?;
    let mut sent = 0;
    for source in [own.last(), client.first(), client.last()].into_iter().flatten() {
        let same_family = backend.iter().find(|ip| ip.contains(':') == source.contains(':'));
        let destination = same_family.context("backend lacks a family")?;
        let argv = [
            stage.probe(),
            "raw-syn",
            "--source",
            source,
            "--destination",
            destination,
            "--port",
            "5678",
            "--count",
            "10",
        ];
        let output = sandbox.exec("outside", "deploy/outsider", &argv)?;
        anyhow::ensure!(output.status.success(), "raw-syn: {}", String::from_utf8_lossy(&output.stderr));
        sent += 10;
    }
    let arrived =
        eventually(Duration::from_secs(2), || Ok(drops(sandbox, &stage.server_node)? - before >= sent));
    let counted = drops(sandbox, &stage.server_node)? - before;
    let note = format!("{sent} hand-made SYNs (IPv6, and two spoofed sources), {counted} counted as dropped");
    report.check("raw-and-spoofed-dropped", arrived.is_ok(), note);
    Ok(())
}

fn probes(sandbox: &Sandbox, report: &mut Report) -> Result<()> {
    // Several probe periods of 1 s pass; the third failure in a row would restart the container.
    std::thread::sleep(Duration::from_secs(4));
    let pod = sandbox.pod(NAMESPACE, "peers")?;
    let container = &pod["status"]["containerStatuses"][0];
    let (ready, restarts) = (container["ready"] == true, container["restartCount"].as_i64());
    let note = format!(
        "peers is {}, restarted {} times",
        if ready { "ready" } else { "not ready" },
        restarts.unwrap_or(-1)
    );
    report.check("probes-still-work", ready && restarts == Some(0), note);
    Ok(())
}

pub(crate) fn peers(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let sandbox = stage.sandbox()?;
    let output = sandbox.exec(NAMESPACE, "deploy/client", &[stage.probe(), "peer-client", "peers:7000"])?;
    let seen: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("peer-client: {}", String::from_utf8_lossy(&output.stderr)))?;
    let client = sandbox.pod_addresses(NAMESPACE, "client")?;
    let server_saw = seen["server_saw"]["ip"].as_str().unwrap_or_default();
    let same_port = seen["server_saw"]["port"] == seen["local"]["port"];
    let note = format!(
        "the server's accept() shows {server_saw}:{}; the client is {}",
        seen["server_saw"]["port"],
        client.join(", ")
    );
    report.check("server-sees-client-address", client.iter().any(|ip| ip == server_saw) && same_port, note);

    let services = sandbox.list(NAMESPACE, "services")?;
    let service =
        services.iter().find(|service| service["metadata"]["name"] == "peers").context("no Service peers")?;
    let vips = service["spec"]["clusterIPs"].as_array().cloned().unwrap_or_default();
    let shown = &seen["peer"]["ip"];
    let note = format!("the client's getpeername shows {shown}, a virtual address of the Service");
    report.check("client-sees-dialled-address", vips.contains(shown), note);
    Ok(())
}

/// All drops that a node's agent has counted.
fn drops(sandbox: &Sandbox, node: &str) -> Result<i64> {
    let socket = sandbox.directory().join(format!("nodes/{node}/agent.sock"));
    let output = std::process::Command::new("curl")
        .args(["-sS", "-m", "5", "--unix-socket"])
        .arg(socket)
        .arg("http://agent/drops")
        .output()?;
    let page: Value = serde_json::from_slice(&output.stdout).context("/drops")?;
    let counters = page["counters"].as_array().cloned().unwrap_or_default();
    Ok(counters.iter().filter_map(|counter| counter["count"].as_i64()).sum())
}
