//! Step 7: in a second sandbox beside the first, certificates live ten seconds and rotate under load.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use heddle_tests::report::Report;
use heddle_tests::sandbox::Sandbox;
use serde_json::Value;

use crate::stage::{NAMESPACE, Stage, finish};

pub(crate) const NAMES: &[&str] = &["rotation-under-load"];

pub(crate) fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let nodes = (stage.client_node.clone(), stage.server_node.clone());
    let sandbox = stage.up("demo-rotation", &["--agent-arg=--cert-ttl=10s"])?;
    stage.populate(&sandbox)?;
    sandbox.run(&["sandbox", "label", "namespace", NAMESPACE, "istio-injection=enabled"])?;
    sandbox.synced()?;
    stage.load(&sandbox, &["--seconds", "1", "--rate", "50"])?;

    let load = stage.start_load(&sandbox, &["--seconds", "32", "--rate", "100"])?;
    let mut serials = BTreeSet::new();
    for _ in 0..15 {
        serials.extend(certificates(&sandbox, &stage.client_node)?);
        std::thread::sleep(Duration::from_secs(2));
    }
    let load = finish(load)?;
    let note = format!(
        "{} on new and kept connections; {} certificates seen on the client's node in 30 s",
        load.sentence(),
        serials.len()
    );
    report.figure(
        "rotation-under-load",
        load.failed == 0 && serials.len() >= 4,
        (load.failed as f64, "failed"),
        note,
    );
    (stage.client_node, stage.server_node) = nodes;
    Ok(())
}

/// Serial numbers of the certificates that an agent holds.
fn certificates(sandbox: &Sandbox, node: &str) -> Result<Vec<String>> {
    let socket = sandbox.directory().join(format!("nodes/{node}/agent.sock"));
    let output = Command::new("curl")
        .args(["-sS", "-m", "5", "--unix-socket"])
        .arg(socket)
        .arg("http://agent/config/certs")
        .output()?;
    let page: Value = serde_json::from_slice(&output.stdout).context("/config/certs")?;
    let certificates = page.as_array().cloned().unwrap_or_default();
    Ok(certificates.iter().filter_map(|each| each["serial"].as_str().map(String::from)).collect())
}
