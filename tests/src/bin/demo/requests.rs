//! Step 5: requests are routed, delayed, repeated and judged, as the tutorial's reader expects.

use anyhow::{Context, Result, ensure};
use heddle_tests::report::Report;
use heddle_tests::sandbox::Sandbox;
use serde_json::Value;

use crate::stage::{NAMESPACE, Stage};

pub(crate) const NAMES: &[&str] = &[
    "canary-90-10",
    "mobile-to-v3",
    "timeout-3s",
    "two-retries",
    "fault-50-percent-5s-10-percent-500",
    "authorization-get-and-post-from-trusted",
];

pub(crate) fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let sandbox = stage.sandbox()?;
    let world = include_str!("requests.yaml")
        .replace("CLIENT_NODE", &stage.client_node)
        .replace("SERVER_NODE", &stage.server_node);
    let file = sandbox.directory().join("requests.yaml");
    std::fs::write(&file, world)?;
    sandbox.run(&["sandbox", "apply", "-f", &file.to_string_lossy()])?;
    sandbox.run(&["sandbox", "wait", "-A", "--for", "ready", "--timeout", "60s"])?;
    sandbox.synced()?;
    routing(stage, sandbox, report)?;
    faults(stage, sandbox, report)?;
    authorization(stage, sandbox, report)
}

/// `heddle-probe requests` in the client.
fn requests(stage: &Stage, sandbox: &Sandbox, arguments: &[&str]) -> Result<Value> {
    let argv = [&[stage.probe(), "requests"], arguments].concat();
    let output = sandbox.exec(NAMESPACE, "deploy/client", &argv)?;
    ensure!(output.status.success(), "requests: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("requests")
}

/// Status and seconds of one request.
fn curl(sandbox: &Sandbox, (namespace, pod): (&str, &str), arguments: &[&str]) -> Result<(String, f64)> {
    let argv =
        [&["curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code} %{time_total}"], arguments]
            .concat();
    let output = sandbox.exec(namespace, pod, &argv)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (status, seconds) = text.split_once(' ').context("curl")?;
    Ok((status.to_owned(), seconds.parse()?))
}

fn routing(stage: &Stage, sandbox: &Sandbox, report: &mut Report) -> Result<()> {
    let tally = requests(stage, sandbox, &["http://web/", "--count", "10000", "--connections", "16"])?;
    let new = tally["versions"]["v2"].as_u64().unwrap_or(0);
    let fine = tally["ok"] == 10_000 && new.abs_diff(1000) <= 100;
    let note = format!("of 10,000 requests {} were answered, {new} of them by v2", tally["ok"]);
    report.figure("canary-90-10", fine, (new as f64 / 100.0, "percent"), note);

    let phone =
        requests(stage, sandbox, &["http://web/", "--header", "user-agent=Mozilla/5.0 Mobile/15E148"])?;
    let note = format!("100 requests with a telephone's User-Agent were answered by {}", phone["versions"]);
    report.check("mobile-to-v3", phone["versions"]["v3"] == 100, note);

    let client = (NAMESPACE, "deploy/client");
    let (status, seconds) = curl(sandbox, client, &["http://web/slow?delay=8000"])?;
    let fine = status == "504" && (2.9..4.0).contains(&seconds);
    report.figure("timeout-3s", fine, (seconds, "s"), format!("a server that takes 8 s: answered {status}"));

    let (status, _) = curl(sandbox, client, &["-H", "x-key: demo", "http://web/flaky?fail=2"])?;
    report.check("two-retries", status == "200", format!("a server that fails twice: answered {status}"));
    Ok(())
}

fn faults(stage: &Stage, sandbox: &Sandbox, report: &mut Report) -> Result<()> {
    let file = stage.tutorial("13-virtualservice-fault.yaml");
    let output = sandbox.output(&["sandbox", "apply", "-f", &file])?;
    let warned = String::from_utf8_lossy(&output.stderr).to_lowercase().contains("warning");
    sandbox.synced()?;
    let tally = requests(stage, sandbox, &["http://my-service/", "--count", "200", "--connections", "200"])?;
    let times = tally["milliseconds"].as_array().cloned().unwrap_or_default();
    let late = times.iter().filter(|time| time.as_u64() >= Some(5000)).count();
    let aborted = tally["statuses"]["500"].as_u64().unwrap_or(0);
    let fine = warned && (65..135).contains(&late) && (5..42).contains(&aborted);
    let note =
        format!("of 200 requests {late} took 5 s and {aborted} were answered 500; a warning: {warned}");
    report.check("fault-50-percent-5s-10-percent-500", fine, note);
    Ok(())
}

fn authorization(stage: &Stage, sandbox: &Sandbox, report: &mut Report) -> Result<()> {
    sandbox.run(&["sandbox", "apply", "-f", &stage.tutorial("15-authorizationpolicy.yaml")])?;
    sandbox.synced()?;
    let url = "http://my-app.default/";
    let (caller, client) = (("trusted", "caller"), (NAMESPACE, "deploy/client"));
    let mut said = Vec::new();
    for (from, arguments, want) in [
        (caller, &[url][..], "200"),
        (caller, &["-d", "x", url], "200"),
        (caller, &["-X", "DELETE", url], "403"),
        (client, &[url], "403"),
    ] {
        let (status, _) = curl(sandbox, from, arguments)?;
        said.push((status == want, format!("{}: {status}", from.0)));
    }
    let note: Vec<&str> = said.iter().map(|(_, note)| note.as_str()).collect();
    let fine = said.iter().all(|(fine, _)| *fine);
    let note = format!("GET, POST and DELETE from trusted, GET from default: {}", note.join(", "));
    report.check("authorization-get-and-post-from-trusted", fine, note);
    Ok(())
}
