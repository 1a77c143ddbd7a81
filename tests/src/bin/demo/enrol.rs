//! Step 2: the label alone puts running pods into the mesh.

use std::collections::BTreeMap;

use anyhow::Result;
use heddle_tests::capture::{Capture, Wire};
use heddle_tests::report::Report;
use heddle_tests::sandbox::{Sandbox, now};

use crate::stage::{NAMESPACE, Stage};

pub(crate) const NAMES: &[&str] =
    &["no-process-restarts", "tunnelled-within-1s", "canary-not-on-wire", "identities-from-handshake"];
const CANARY: &str = "canary-through-the-tunnel-012345";

pub(crate) fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let sandbox = stage.sandbox()?;
    let before = processes(sandbox)?;
    let capture = Capture::start(sandbox, &stage.client_node)?;
    sandbox.run(&["sandbox", "label", "namespace", NAMESPACE, "istio-injection=enabled"])?;
    let labelled = now();
    let first = stage.load(sandbox, &["--seconds", "2", "--rate", "100", "--connections", "new"])?;
    let second = stage.load(sandbox, &["--seconds", "5", "--rate", "200", "--canary", CANARY])?;
    let wire = capture.stop()?;

    let after = processes(sandbox)?;
    let note = format!(
        "{} processes in {} pods, the same before and after",
        after.values().map(Vec::len).sum::<usize>(),
        after.len()
    );
    report.check("no-process-restarts", before == after, note);

    let (tunnelled, direct) = opens(stage, &wire, labelled + 1.0)?;
    let note = format!(
        "from 1 s after the label: {tunnelled} connections opened to port 15008, {direct} to other ports; {}, then {}",
        first.sentence(),
        second.sentence()
    );
    report.check("tunnelled-within-1s", tunnelled > 0 && direct == 0 && second.failed == 0, note);

    let seen = wire.count(CANARY.as_bytes());
    let note = format!("sent {} times in a 32-byte header, seen on the wire {seen} times", second.ok);
    report.figure("canary-not-on-wire", seen == 0 && second.ok >= 1000, (seen as f64, "packets"), note);
    identities(stage, report)
}

/// Connections that pods of the namespace opened over the wire: to 15008, and to anything else.
pub(crate) fn opens(stage: &Stage, wire: &Wire, since: f64) -> Result<(usize, usize)> {
    let pods = stage.pod_addresses()?;
    let mut counts = (0, 0);
    for packet in wire.opens_since(since) {
        if !pods.iter().any(|pod| packet.touches(*pod)) {
            continue;
        }
        match packet.tcp {
            Some(tcp) if tcp.destination == 15008 => counts.0 += 1,
            _ => counts.1 += 1,
        }
    }
    Ok(counts)
}

fn identities(stage: &Stage, report: &mut Report) -> Result<()> {
    let metrics = stage.sandbox()?.metrics(&stage.server_node)?;
    let principal = "spiffe://cluster.local/ns/default/sa/default";
    let line = metrics.lines().find(|line| {
        (line.starts_with("istio_requests_total") || line.starts_with("istio_tcp_connections_opened_total"))
            && line.contains("reporter=\"destination\"")
            && line.contains(&format!("source_principal=\"{principal}\""))
            && line.contains(&format!("destination_principal=\"{principal}\""))
            && line.contains("connection_security_policy=\"mutual_tls\"")
    });
    let note = match line {
        Some(_) => format!("client and server both proved to be {principal}"),
        None => "the server's agent counted nothing with both principals".into(),
    };
    report.check("identities-from-handshake", line.is_some(), note);
    Ok(())
}

/// Process ids by pod.
fn processes(sandbox: &Sandbox) -> Result<BTreeMap<String, Vec<u32>>> {
    let mut all = BTreeMap::new();
    // `frontend` starts a curl every 5 s by design: its loop's own process is enough.
    for app in ["backend", "client", "peers"] {
        let pod = sandbox.pod(NAMESPACE, app)?;
        all.insert(app.to_owned(), sandbox.pids(&pod)?);
    }
    let frontend = sandbox.pids(&sandbox.pod(NAMESPACE, "frontend")?)?;
    all.insert("frontend".into(), frontend.into_iter().take(1).collect());
    Ok(all)
}
