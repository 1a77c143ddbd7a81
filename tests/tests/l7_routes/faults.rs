//! Deadlines, repetitions, and faults on purpose.

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;

use crate::{count, logged};

/// A lost answer of the DNS is as late as a fault.
const ONCE: &str = "--resolve-once";

pub(crate) fn timeout(mesh: &Mesh) -> Result<()> {
    let late = mesh.call("http://timing/timeout?delay=8000&late-ut", &[])?;
    ensure!(late.status == 504 && (2.9..4.5).contains(&late.seconds), "{late:?}");
    ensure!(mesh.call("http://timing/timeout?delay=1000", &[])?.status == 200);
    logged(mesh, "late-ut", " 504 UT ")
}

pub(crate) fn retries(mesh: &Mesh) -> Result<()> {
    let two = mesh.call("http://timing/retry?fail=2", &["-H", "x-key: retry-two"])?;
    ensure!(two.status == 200 && two.json()?["attempt"] == 3, "{two:?}");
    let three = mesh.call("http://timing/retry?fail=3&retry-urx", &["-H", "x-key: retry-three"])?;
    ensure!(three.status == 503 && mesh.seen("retry-three")? == 3, "{three:?}");
    logged(mesh, "retry-urx", " 503 URX ")?;
    let never = mesh.call("http://timing/never?fail=1", &["-H", "x-key: retry-never"])?;
    ensure!(never.status == 503 && mesh.seen("retry-never")? == 1, "{never:?}");
    // A body is sent again too.
    let body = ["-H", "x-key: retry-body", "-d", "0123456789"];
    let again = mesh.call("http://timing/retry?fail=1", &body)?;
    ensure!(again.status == 200 && again.json()?["received"] == 10, "{again:?}");
    Ok(())
}

pub(crate) fn tries(mesh: &Mesh) -> Result<()> {
    let slow = mesh.call("http://timing/try?delay=2000", &["-H", "x-key: slow-try"])?;
    ensure!(slow.status == 504 && (0.8..2.0).contains(&slow.seconds), "{slow:?}");
    ensure!(mesh.seen("slow-try")? == 3, "it was tried {} times", mesh.seen("slow-try")?);
    Ok(())
}

pub(crate) fn faults(mesh: &Mesh) -> Result<()> {
    let tally =
        mesh.probe(&["requests", "http://timing/delay", "--count", "400", "--connections", "200", ONCE])?;
    let times = tally["milliseconds"].as_array().cloned().unwrap_or_default();
    let late = times.iter().filter(|time| time.as_u64() >= Some(1000)).count();
    ensure!(
        tally["ok"] == 400 && (150..250).contains(&late),
        "{late} of 400 were delayed: {}",
        tally["statuses"]
    );
    let tally = mesh.probe(&["requests", "http://timing/abort", "--count", "2000"])?;
    let aborted = count(&tally, "statuses", "500");
    ensure!((140..260).contains(&aborted), "{aborted} of 2000 were aborted: {}", tally["statuses"]);
    let call = mesh.probe(&["grpc-client", "http://timing:7070"])?;
    ensure!(call["code"] == 14, "{call}");
    let one = mesh.call("http://timing/delay?fault-flag", &[])?;
    ensure!(one.status == 200);
    Ok(())
}

pub(crate) fn tutorial(mesh: &Mesh) -> Result<()> {
    let warned = mesh.apply(include_str!("../../../manifests/tutorial/13-virtualservice-fault.yaml"))?;
    ensure!(warned.to_lowercase().contains("warning") && warned.contains("fault"), "{warned}");
    let load = ["requests", "http://my-service/", "--count", "200", "--connections", "200", ONCE];
    let tally = mesh.probe(&load)?;
    let times = tally["milliseconds"].as_array().cloned().unwrap_or_default();
    let late = times.iter().filter(|time| time.as_u64() >= Some(5000)).count();
    let aborted = count(&tally, "statuses", "500");
    ensure!((65..135).contains(&late), "{late} of 200 were delayed by 5 s");
    ensure!((5..42).contains(&aborted), "{aborted} of 200 were answered 500");
    let flags = mesh.access_log("node-1", "my-service")?;
    for flag in ["DI", "FI"] {
        ensure!(flags.iter().any(|line| line.contains(flag)), "no {flag} in the access log");
    }
    Ok(())
}
