//! Rolling updates and scaling under load, without one failed request.

use std::process::ExitCode;
use std::thread::{scope, sleep};
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::suite::{self, Case};
use serde_json::Value;

const ROLLOUTS: usize = 20;

const CASES: &[Case<Mesh>] = &[
    ("twenty_rolling_updates_under_500_requests_a_second_lose_none", rollouts),
    ("scaling_to_one_and_back_loses_none", scaling),
];

/// Servers that end at once when they are told to, as most do: nothing here waits for the mesh.
const ROLLED: &str = "
{apiVersion: apps/v1, kind: Deployment, metadata: {name: rolled}, spec: {replicas: 3, selector: {matchLabels: {app: rolled}},
  template: {metadata: {labels: {app: rolled}}, spec: {containers: [{name: http, image: heddle-probe, args: [http-server],
    readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: rolled}, spec: {selector: {app: rolled}, ports: [{name: http, port: 80, targetPort: 8080}]}}
";

fn main() -> ExitCode {
    suite::run(|| Mesh::up("t-l7-roll", &[], ROLLED), 1, CASES)
}

fn under_load(mesh: &Mesh, seconds: u32, change: impl FnOnce() -> Result<()>) -> Result<Value> {
    mesh.sandbox.run(&["sandbox", "rollout", "status", "deploy/rolled", "--timeout", "60s"])?;
    let seconds = seconds.to_string();
    let argv = ["requests", "http://rolled/", "--rate", "500", "--seconds", &seconds, "--connections", "32"];
    scope(|scope| {
        let load = scope.spawn(|| mesh.probe(&argv));
        sleep(Duration::from_millis(500));
        change()?;
        load.join().map_err(|_panic| anyhow!("the load ended"))?
    })
}

fn lossless(mesh: &Mesh, tally: &Value) -> Result<()> {
    let statuses = tally["statuses"].as_object().map_or(0, serde_json::Map::len);
    let fine = tally["failed"] == 0 && tally["statuses"]["200"].is_u64() && statuses == 1;
    if fine {
        return Ok(());
    }
    let mut lines = mesh.access_log("node-1", "\" 50")?;
    lines.extend(mesh.access_log("node-2", "\" 50")?);
    bail!(
        "statuses {}, {} without an answer: {}\n{}",
        tally["statuses"],
        tally["failed"],
        tally["errors"],
        lines.join("\n")
    )
}

fn rollouts(mesh: &Mesh) -> Result<()> {
    // Five at a time, so that a loss shows early.
    for round in 0..ROLLOUTS / 5 {
        let tally = under_load(mesh, 16, || {
            for _ in 0..5 {
                mesh.sandbox.run(&["sandbox", "rollout", "restart", "deploy/rolled"])?;
                mesh.sandbox.run(&["sandbox", "rollout", "status", "deploy/rolled", "--timeout", "60s"])?;
                // The new pods serve for a while; and restarts are told apart by the second.
                sleep(Duration::from_millis(1200));
            }
            Ok(())
        })?;
        lossless(mesh, &tally).map_err(|error| anyhow!("round {round}: {error}"))?;
        let pods = tally["pods"].as_object().map_or(0, serde_json::Map::len);
        ensure!(pods >= 15, "the load met {pods} pods only");
    }
    Ok(())
}

fn scaling(mesh: &Mesh) -> Result<()> {
    let tally = under_load(mesh, 8, || {
        for replicas in ["1", "3", "1", "3"] {
            mesh.sandbox.run(&["sandbox", "scale", "deploy", "rolled", "--replicas", replicas])?;
            sleep(Duration::from_millis(1500));
        }
        Ok(())
    })?;
    lossless(mesh, &tally)
}
