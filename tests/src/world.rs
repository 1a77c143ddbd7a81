//! The world of the sandbox tests: two nodes, a client, servers, an outsider.

use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::sandbox::{Sandbox, binary};

/// A sandbox with the applications of `world.yaml`.
#[derive(Debug)]
pub struct World {
    /// The sandbox.
    pub sandbox: Sandbox,
    probe: String,
}

impl World {
    /// Brings it up, not enrolled.
    ///
    /// # Errors
    /// It does not come up.
    pub fn up(name: &str) -> Result<Self> {
        Self::up_with(name, &[])
    }

    /// As [`Self::up`], with more arguments for `sandbox up`.
    ///
    /// # Errors
    /// It does not come up.
    pub fn up_with(name: &str, more: &[&str]) -> Result<Self> {
        let probe = binary("heddle-probe")?.to_str().context("path is not UTF-8")?.to_owned();
        let manifest = std::env::temp_dir().join(format!("heddle-world-{name}.yaml"));
        std::fs::write(&manifest, include_str!("world.yaml"))?;
        let (file, image) = (manifest.to_string_lossy().into_owned(), format!("heddle-probe={probe}"));
        let mut args = vec!["--nodes", "2", "-f", &file, "--image", &image];
        args.extend_from_slice(more);
        let sandbox = Sandbox::up(name, &args);
        std::fs::remove_file(&manifest)?;
        Ok(Self { sandbox: sandbox?, probe })
    }

    /// As [`Self::up`], with `default` enrolled and everything applied.
    ///
    /// # Errors
    /// It does not come up.
    pub fn enrolled(name: &str) -> Result<Self> {
        let world = Self::up(name)?;
        world.enrol()?;
        Ok(world)
    }

    /// Labels `default` and waits until that is in force.
    ///
    /// # Errors
    /// It is not within a minute.
    pub fn enrol(&self) -> Result<()> {
        self.sandbox.run(&[
            "sandbox",
            "label",
            "namespace",
            "default",
            "istio-injection=enabled",
            "--overwrite",
        ])?;
        self.sandbox.synced()
    }

    /// Applies a manifest and waits until it is in force.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        let file = self.sandbox.directory().join("test.yaml");
        std::fs::write(&file, manifest)?;
        self.sandbox.run(&["sandbox", "apply", "-f", &file.to_string_lossy()])?;
        self.sandbox.synced()
    }

    /// Runs the probe in a pod of `default` and reads the JSON that it prints.
    ///
    /// # Errors
    /// It failed, or printed something else.
    pub fn probe(&self, args: &[&str]) -> Result<Value> {
        let mut argv = vec![self.probe.as_str()];
        argv.extend_from_slice(args);
        let output = self.sandbox.exec("default", "client", &argv)?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{args:?}: {}", errors.trim());
        serde_json::from_slice(&output.stdout).with_context(|| format!("{args:?}: {errors}"))
    }

    /// `heddle-probe load` in a pod, running; [`outcome`] waits for it.
    ///
    /// # Errors
    /// It does not start.
    pub fn load(&self, namespace: &str, pod: &str, args: &[&str]) -> Result<Child> {
        let mut argv = vec![self.probe.as_str(), "load"];
        argv.extend_from_slice(args);
        let mut command = self.sandbox.exec_command(namespace, pod, &argv)?;
        Ok(command.stdout(Stdio::piped()).spawn()?)
    }

    /// The ClusterIP of a service of `default`, with a port: a lookup less for each connection.
    ///
    /// # Errors
    /// There is no such service.
    pub fn service(&self, name: &str, port: u16) -> Result<String> {
        let services = self.sandbox.list("default", "services")?;
        let found = services.iter().find(|service| service["metadata"]["name"] == name);
        let address = found.and_then(|service| service["spec"]["clusterIP"].as_str());
        Ok(format!("{}:{port}", address.with_context(|| format!("no service {name}"))?))
    }

    /// What curl in a pod gets: the body of an answer below 400, or an error.
    ///
    /// # Errors
    /// curl failed.
    pub fn curl(&self, namespace: &str, pod: &str, url: &str) -> Result<String> {
        let output = self.sandbox.exec(namespace, pod, &["curl", "-sSf", "-m", "3", url])?;
        ensure!(output.status.success(), "curl {url}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// What a load saw, once it has ended.
///
/// # Errors
/// It printed something else.
pub fn outcome(load: Child) -> Result<Value> {
    serde_json::from_slice(&load.wait_with_output()?.stdout).context("load")
}
