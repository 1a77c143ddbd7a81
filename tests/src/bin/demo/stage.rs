//! What the steps share: the sandbox, who is where, and a load from the client.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context, Result, ensure};
use heddle_tests::sandbox::{Sandbox, binary};
use serde::Deserialize;

/// The namespace of the tutorial.
pub(crate) const NAMESPACE: &str = "default";

/// Everything the steps work on.
#[derive(Debug)]
pub(crate) struct Stage {
    tutorial: PathBuf,
    probe: String,
    sandbox: Option<Sandbox>,
    /// Where the client runs.
    pub(crate) client_node: String,
    /// Where the backend runs.
    pub(crate) server_node: String,
}

/// What `heddle-probe load` prints.
#[derive(Debug, Deserialize)]
pub(crate) struct Load {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) recovered: Option<f64>,
    pub(crate) errors: Vec<String>,
    pub(crate) last_body: String,
}

impl Load {
    /// "1000 requests, 0 failed".
    pub(crate) fn sentence(&self) -> String {
        let first = self.errors.first().map(|error| format!(" (first: {error})")).unwrap_or_default();
        format!("{} requests, {} failed{first}", self.ok + self.failed, self.failed)
    }
}

impl Stage {
    pub(crate) fn new(tutorial: &Path) -> Result<Self> {
        let probe = binary("heddle-probe")?;
        ensure!(tutorial.is_dir(), "{} is not a folder", tutorial.display());
        Ok(Self {
            tutorial: tutorial.canonicalize()?,
            probe: probe.to_str().context("path is not UTF-8")?.to_owned(),
            sandbox: None,
            client_node: "node-1".into(),
            server_node: "node-2".into(),
        })
    }

    /// A file of the tutorial.
    pub(crate) fn tutorial(&self, file: &str) -> String {
        self.tutorial.join(file).to_string_lossy().into_owned()
    }

    /// The probe's path, the same inside pods.
    pub(crate) fn probe(&self) -> &str {
        &self.probe
    }

    /// Brings up a sandbox with the tutorial's two applications and the demo's own.
    pub(crate) fn up(&self, name: &str, more: &[&str]) -> Result<Sandbox> {
        let (backend, frontend) = (self.tutorial("01-backend.yaml"), self.tutorial("02-frontend.yaml"));
        let image = format!("heddle-probe={}", self.probe);
        let mut args = vec!["--nodes", "2", "-f", &backend, "-f", &frontend, "--image", &image];
        args.extend_from_slice(more);
        Sandbox::up(name, &args)
    }

    /// Adds the demo's own applications, on the nodes where they are wanted.
    pub(crate) fn populate(&mut self, sandbox: &Sandbox) -> Result<()> {
        let backend = sandbox.pod(NAMESPACE, "backend")?;
        self.server_node = backend["spec"]["nodeName"].as_str().context("backend has no node")?.into();
        self.client_node = if self.server_node == "node-1" { "node-2" } else { "node-1" }.into();
        let world = include_str!("world.yaml")
            .replace("CLIENT_NODE", &self.client_node)
            .replace("SERVER_NODE", &self.server_node);
        let file = sandbox.directory().join("demo.yaml");
        std::fs::write(&file, world)?;
        sandbox.run(&["sandbox", "apply", "-f", &file.to_string_lossy()])?;
        sandbox.run(&["sandbox", "wait", "--for", "ready", "--timeout", "60s"])?;
        Ok(())
    }

    pub(crate) fn set_sandbox(&mut self, sandbox: Sandbox) {
        self.sandbox = Some(sandbox);
    }

    pub(crate) fn sandbox(&self) -> Result<&Sandbox> {
        self.sandbox.as_ref().context("the sandbox is not up")
    }

    /// Starts a load from the client to the backend's Service.
    pub(crate) fn start_load(&self, sandbox: &Sandbox, more: &[&str]) -> Result<Child> {
        let mut argv = vec![self.probe.as_str(), "load", "backend:80"];
        argv.extend_from_slice(more);
        let mut command = sandbox.exec_command(NAMESPACE, "deploy/client", &argv)?;
        Ok(command.stdout(std::process::Stdio::piped()).spawn()?)
    }

    /// Runs a load to its end.
    pub(crate) fn load(&self, sandbox: &Sandbox, more: &[&str]) -> Result<Load> {
        finish(self.start_load(sandbox, more)?)
    }

    /// Addresses of every pod of the tutorial's namespace.
    pub(crate) fn pod_addresses(&self) -> Result<Vec<IpAddr>> {
        let pods = self.sandbox()?.list(NAMESPACE, "pods")?;
        let addresses =
            pods.iter().flat_map(|pod| pod["status"]["podIPs"].as_array().cloned().unwrap_or_default());
        Ok(addresses.filter_map(|each| each["ip"].as_str().and_then(|ip| ip.parse().ok())).collect())
    }

    /// Leaves the sandbox and says what to try.
    pub(crate) fn keep(&mut self) {
        let Some(sandbox) = &mut self.sandbox else { return };
        sandbox.keep();
        println!("\nThe sandbox stays up. Try:");
        for command in [
            "heddle sandbox exec --name demo deploy/client -- curl -s http://backend",
            "heddle status --sandbox demo",
            "heddle config workloads --sandbox demo --node node-1",
            "heddle config routes --sandbox demo deploy/client",
            "heddle explain --sandbox demo deploy/client web --header user-agent=Mobile",
            "heddle drops --sandbox demo",
            "heddle bpf --sandbox demo",
            "bpftool prog show",
            "heddle sandbox down --name demo",
        ] {
            println!("  {command}");
        }
    }
}

/// Waits for a load and reads what it printed.
pub(crate) fn finish(load: Child) -> Result<Load> {
    let output = load.wait_with_output()?;
    ensure!(output.status.success(), "the load did not run: {}", output.status);
    serde_json::from_slice(&output.stdout).context("the load's report")
}
