//! The mesh's own processes in the sandbox: the controller, and one agent a node.
//!
//! One that dies stays dead until it is started again: that is what failure tests look at.
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::{Mutex, watch};

use super::{MeshPlan, describe};
use crate::client;
use crate::fabric::Fabric;

/// How long a process may take to serve its admin socket.
const START: Duration = Duration::from_secs(20);
/// How long the end of a process may take to be noticed.
const REAP: Duration = Duration::from_millis(500);
/// How long a process may drain before it is killed.
const DRAIN: Duration = Duration::from_secs(35);

/// The processes by name: `controller`, `node-1` …
#[derive(Debug)]
pub struct Mesh {
    fabric: Arc<Fabric>,
    plan: MeshPlan,
    running: Mutex<BTreeMap<String, Running>>,
}

#[derive(Debug)]
struct Running {
    pid: u32,
    /// True once the process has ended and was reaped.
    ended: watch::Receiver<bool>,
}

impl Mesh {
    pub(super) fn new(fabric: Arc<Fabric>, plan: MeshPlan) -> Mesh {
        Mesh { fabric, plan, running: Mutex::default() }
    }

    /// Starts a node's agent, or the controller, and waits until it answers.
    pub async fn start(&self, node: Option<&str>) -> io::Result<()> {
        let name = node.unwrap_or("controller");
        let mut running = self.running.lock().await;
        if let Some(process) = running.get(name) {
            // One that was killed a moment ago may wait to be reaped.
            let mut ended = process.ended.clone();
            if tokio::time::timeout(REAP, ended.wait_for(|ended| *ended)).await.is_err() {
                return Err(io::Error::other(format!("{name} is running already")));
            }
        }
        let layout = self.fabric.layout();
        let (command, socket, log) = match node {
            Some(node) => {
                (self.agent(node)?, layout.node(node).join("agent.sock"), layout.node(node).join("agent.log"))
            }
            None => {
                let folder = layout.controller();
                (self.controller(), folder.join("admin.sock"), folder.join("controller.log"))
            }
        };
        let process = spawn(command, &log)?;
        let mut ended = process.ended.clone();
        self.record(node, Some(process.pid))?;
        running.insert(name.to_owned(), process);
        tokio::select! {
            answered = tokio::time::timeout(START, answers(&socket)) => {
                let late = |_elapsed| io::Error::other(format!("{name} does not answer within {START:?}; {}", tail(&log)));
                answered.map_err(late)
            }
            _ = ended.wait_for(|ended| *ended) => {
                Err(io::Error::other(format!("{name} ended at once; {}", tail(&log))))
            }
        }
    }

    /// Ends a process as Kubernetes would: SIGTERM, then SIGKILL. One that does not run is fine.
    pub async fn stop(&self, node: Option<&str>) -> io::Result<()> {
        let name = node.unwrap_or("controller");
        if let Some(node) = node {
            self.node(node)?;
        }
        let Some(mut process) = self.running.lock().await.remove(name) else { return Ok(()) };
        if !*process.ended.borrow() {
            let pid = Pid::from_raw(i32::try_from(process.pid).map_err(io::Error::other)?);
            match kill(pid, Signal::SIGTERM) {
                // It ended by itself meanwhile.
                Ok(()) | Err(nix::Error::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
            if tokio::time::timeout(DRAIN, process.ended.wait_for(|ended| *ended)).await.is_err() {
                kill(pid, Signal::SIGKILL)?;
                let _ = process.ended.wait_for(|ended| *ended).await;
            }
        }
        self.record(node, None)
    }

    fn node(&self, name: &str) -> io::Result<&Arc<crate::fabric::Node>> {
        self.fabric.node(name).ok_or_else(|| io::Error::other(format!("nodes \"{name}\" not found")))
    }

    fn agent(&self, name: &str) -> io::Result<Command> {
        let node = self.node(name)?;
        let layout = self.fabric.layout();
        let folder = layout.node(name);
        let controller = crate::fabric::address::CONTROLLER.v4;
        let mut command = node.command("agent", &self.plan.agent);
        command.args(["--node", name, "--controller", &format!("{controller}:15012")]);
        command.arg("--root-cert").arg(layout.controller().join("root.pem"));
        for (flag, file) in [
            ("--token-file", "token"),
            ("--pods-dir", "pods"),
            ("--captured-dir", "captured"),
            ("--bpffs", "bpf"),
            ("--state-dir", "state"),
            ("--keys-dir", "keys"),
            ("--admin-socket", "agent.sock"),
        ] {
            command.arg(flag).arg(folder.join(file));
        }
        command.arg("--cgroup").arg(node.cgroup().path());
        command.arg("--prober-cgroup").arg(node.cgroup().child("kubelet").path());
        command.args(&self.plan.agent_args);
        command.stdout(append(&folder.join("access.log"))?);
        Ok(command)
    }

    fn controller(&self) -> Command {
        let layout = self.fabric.layout();
        let folder = layout.controller();
        let mut command = self.fabric.controller_command(&self.plan.controller);
        command.args([
            "--registry",
            "directory",
            "--listen",
            "[::]:15012",
            "--metrics-address",
            "[::]:15014",
        ]);
        command.arg("--directory").arg(layout.objects()).arg("--status-dir").arg(layout.status());
        for (flag, file) in [
            ("--admin-socket", "admin.sock"),
            ("--ca-dir", "ca"),
            ("--root-out", "root.pem"),
            ("--tokens", "tokens.json"),
        ] {
            command.arg(flag).arg(folder.join(file));
        }
        for cidr in ["10.244.0.0/16", "fd00:10:244::/48"] {
            command.args(["--pod-cidr", cidr]);
        }
        for cidr in ["10.96.0.0/16", "fd00:10:96::/112"] {
            command.args(["--service-cidr", cidr]);
        }
        command.args(&self.plan.controller_args);
        command.stdout(std::process::Stdio::null());
        command
    }

    fn record(&self, node: Option<&str>, pid: Option<u32>) -> io::Result<()> {
        describe(self.fabric.layout(), |value| match node {
            None => value["controller"]["process"] = json!(pid),
            Some(node) => {
                let nodes = value["nodes"].as_array_mut().into_iter().flatten();
                nodes.filter(|entry| entry["name"] == node).for_each(|entry| entry["agent"] = json!(pid));
            }
        })
    }
}

fn spawn(mut command: Command, log: &Path) -> io::Result<Running> {
    command.stdin(std::process::Stdio::null()).stderr(append(log)?);
    let mut child = command.spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("the process has no id"))?;
    let (sender, ended) = watch::channel(false);
    // Ends with the process.
    tokio::spawn(async move {
        let status = child.wait().await;
        tracing::info!(pid, ?status, "process of the mesh ended");
        sender.send_replace(true);
    });
    Ok(Running { pid, ended })
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

async fn answers(socket: &Path) {
    while client::request(socket, "GET", "/status", None).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The end of a log, for the error that sends somebody there.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    format!("{}:\n  {}", log.display(), last.join("\n  "))
}
