//! What an agent takes while nothing happens: memory idle, with idle connections, with a large mesh known; and its start.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heddle_tests::report::Report;
use heddle_tests::sandbox::{Sandbox, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::Options;
use crate::topology::{Topology, Way};

pub(crate) const NAMES: &[&str] = &[
    "rss-idle",
    "rss-per-connection-client",
    "rss-per-connection-server",
    "rss-10000-workloads",
    "start-10000-workloads",
];
pub(crate) const NODES: [&str; 2] = ["node-1", "node-2"];
const CONNECTIONS: usize = 1_000;
const WORKLOADS: usize = 10_000;

/// User and system time of both nodes' agents so far.
pub(crate) fn agents_cpu(sandbox: &Sandbox) -> Result<[f64; 2]> {
    Ok([cpu_seconds(agent(sandbox, NODES[0])?)?, cpu_seconds(agent(sandbox, NODES[1])?)?])
}

/// The same of the relays beside the client and the server.
pub(crate) fn relays_cpu(sandbox: &Sandbox) -> Result<[f64; 2]> {
    let relay = |app: &str| {
        let pids = sandbox.pids(&sandbox.pod(Way::Relay.namespace(), app)?)?;
        let is_relay = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "haproxy")
        };
        cpu_seconds(pids.into_iter().find(is_relay).with_context(|| format!("no relay beside {app}"))?)
    };
    Ok([relay("client")?, relay("server")?])
}

/// User and system time of a process so far.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime and stime are fields 14 and 15; the first after the name is 3. Source: proc_pid_stat(5).
    let ticks =
        |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok()).context("short stat");
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no clock tick")?;
    Ok((ticks(14)? + ticks(15)?) / per_second as f64)
}

/// Memory before any traffic, and with idle connections through both agents.
pub(crate) fn idle(options: &Options, topology: &Topology, report: &mut Report) -> Result<()> {
    if !options.wants(&NAMES[..3]) {
        return Ok(());
    }
    let sandbox = &topology.sandbox;
    let before = settled_kib(sandbox)?;
    let largest = before[0].max(before[1]) / 1024.0;
    report.figure(NAMES[0], true, (largest, "MiB"), goal(largest, 17.0, "MiB", "larger of both agents"));

    let bench = std::env::current_exe()?.to_str().context("path is not UTF-8")?.to_owned();
    let argv = [bench, "hold".into(), topology.http(Way::Mesh), CONNECTIONS.to_string(), "60".into()];
    let mut command = sandbox.exec_command(Way::Mesh.namespace(), "client", &argv)?;
    let mut hold = command.stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(hold.stdout.take().context("no output")?).read_line(&mut line)?;
    let during = settled_kib(sandbox)?;
    hold.kill()?;
    hold.wait()?;
    let held = line.trim() == format!("held {CONNECTIONS}");
    for side in 0..2 {
        let each = (during[side] - before[side]) / CONNECTIONS as f64;
        let note = goal(each, 5.0, "KiB", &format!("{} idle connections: {}", CONNECTIONS, line.trim()));
        report.figure(NAMES[1 + side], held, (each, "KiB"), note);
    }
    Ok(())
}

/// Memory with many workloads of other nodes known, and how long an agent takes to start with them.
pub(crate) fn known_workloads(options: &Options, topology: &Topology, report: &mut Report) -> Result<()> {
    if !options.wants(&NAMES[3..]) {
        return Ok(());
    }
    let sandbox = &topology.sandbox;
    let base = workloads(sandbox)?;
    publish(sandbox)?;
    let known = eventually(Duration::from_secs(120), || Ok(workloads(sandbox)? >= base + WORKLOADS));
    let Ok(took) = known else {
        let note = format!("the agent knows {} workloads after two minutes", workloads(sandbox)?);
        NAMES[3..].iter().for_each(|name| report.check(name, false, note.clone()));
        return Ok(());
    };
    let rss = settled_kib(sandbox)?[0] / 1024.0;
    let note = goal(rss, 40.0, "MiB", &format!("known {:.1} s after they were written", took.as_secs_f64()));
    report.figure(NAMES[3], true, (rss, "MiB"), note);

    kill(Pid::from_raw(agent(sandbox, NODES[0])?.cast_signed()), Signal::SIGKILL)?;
    eventually(Duration::from_secs(5), || Ok(sandbox.agent_pids(NODES[0])?.is_empty()))?;
    // The sandbox has to notice as well.
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    sandbox.run(&["sandbox", "agent", "start", NODES[0]])?;
    eventually(Duration::from_secs(60), || Ok(workloads(sandbox)? >= base + WORKLOADS))?;
    let took = start.elapsed().as_secs_f64() * 1000.0;
    let note = goal(took, 400.0, "ms", "from the command that starts it until it shows all of them");
    report.figure(NAMES[4], true, (took, "ms"), note);
    Ok(())
}

/// Writes the objects of pods on a node that does not run, as the registry keeps them.
fn publish(sandbox: &Sandbox) -> Result<()> {
    let namespace = "bench-far";
    sandbox.run(&["sandbox", "apply", "-f", &far_namespace(namespace)?])?;
    let folder = sandbox.directory().join("objects/pods.core").join(namespace);
    fs::create_dir_all(&folder)?;
    for number in 0..WORKLOADS {
        let name = format!("far-{number}");
        let address = format!("10.{}.{}.{}", 200 + number / 62_500, number / 250 % 250, number % 250 + 1);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": namespace, "uid": format!("00000000-0000-4000-8000-{number:012}"),
                "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "far"},
            },
            "spec": {
                "nodeName": "node-far", "serviceAccountName": "default",
                "containers": [{"name": "far", "image": "pause"}],
            },
            "status": {
                "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        let temporary = folder.join(format!(".{name}"));
        fs::write(&temporary, pod.to_string())?;
        fs::rename(&temporary, folder.join(format!("{name}.json")))?;
    }
    Ok(())
}

fn far_namespace(name: &str) -> Result<String> {
    let path = std::env::temp_dir().join(format!("heddle-bench-far-{}.yaml", std::process::id()));
    fs::write(&path, format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n"))?;
    Ok(path.to_string_lossy().into_owned())
}

/// How many workloads the agent of node-1 has in force; a small answer, because asking takes memory too.
fn workloads(sandbox: &Sandbox) -> Result<usize> {
    let socket = sandbox.directory().join("nodes").join(NODES[0]).join("agent.sock");
    let output = Command::new("curl")
        .args(["-sS", "-m", "10", "http://agent/status", "--unix-socket"])
        .arg(socket)
        .output()?;
    ensure!(
        output.status.success(),
        "the agent does not answer: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let status: Value = serde_json::from_slice(&output.stdout)?;
    let known = status["workloads"]["known"].as_u64().context("the agent does not say what it knows")?;
    Ok(usize::try_from(known)?)
}

fn rss_kib(sandbox: &Sandbox, node: &str) -> Result<f64> {
    rss_of(agent(sandbox, node)?)
}

/// Resident memory of a process, KiB.
pub(crate) fn rss_of(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Memory of both agents once it no longer falls: what a start or an update took goes back to the system within seconds.
fn settled_kib(sandbox: &Sandbox) -> Result<[f64; 2]> {
    let now = || Ok::<_, anyhow::Error>([rss_kib(sandbox, NODES[0])?, rss_kib(sandbox, NODES[1])?]);
    let mut least = now()?;
    let mut since = Instant::now();
    let deadline = since + Duration::from_secs(20);
    while since.elapsed() < Duration::from_secs(4) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(250));
        let next = now()?;
        if (0..2).any(|side| next[side] < least[side] * 0.995) {
            (least, since) = ([least[0].min(next[0]), least[1].min(next[1])], Instant::now());
        }
    }
    now()
}

/// The process of a node's agent.
pub(crate) fn agent(sandbox: &Sandbox, node: &str) -> Result<u32> {
    sandbox.agent_pids(node)?.first().copied().with_context(|| format!("no agent on {node}"))
}

fn goal(figure: f64, most: f64, unit: &str, note: &str) -> String {
    format!("{note}; goal ≤ {most} {unit}: {}", if figure <= most { "met" } else { "missed" })
}
