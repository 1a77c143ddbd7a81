//! The world of the L7 tests: clients in several namespaces, three versions of one server, and any number of Services
//! in front of them, so that each test has a host of its own.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::sandbox::{Sandbox, binary};

/// An enrolled sandbox of two nodes.
///
/// `default` has `client` (node-1) and `echo-v1` (node-2), `echo-v2` (node-1), `echo-v3` (node-2); `trusted` has `caller`,
/// `outside` has `outsider`, which is in no mesh.
#[derive(Debug)]
pub struct Mesh {
    /// The sandbox.
    pub sandbox: Sandbox,
    probe: String,
}

/// What curl got.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Of the last response.
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// As text.
    pub body: String,
    /// Seconds from the beginning to the end.
    pub seconds: f64,
}

/// Ports of every Service: name, port, target, appProtocol.
const PORTS: &str = "[{name: http, port: 80, targetPort: 8080}, {name: http-alt, port: 8081}, \
    {name: plain, port: 9080, targetPort: 8080}, {name: grpc, port: 7070}, {name: ws, port: 7002, appProtocol: http}, \
    {name: peer, port: 7000}, {name: streams, port: 7001}, {name: h2, port: 8082, targetPort: 8080, appProtocol: kubernetes.io/h2c}]";

impl Mesh {
    /// Brings it up with a Service for each of `hosts`, applies `manifests`, and waits until all is in force. With
    /// HEDDLE_TEST_KEEP in the environment it is left running afterwards, for a look around.
    ///
    /// # Errors
    /// It does not come up, or a manifest is refused.
    pub fn up(name: &str, hosts: &[&str], manifests: &str) -> Result<Self> {
        let probe = binary("heddle-probe")?.to_str().context("path is not UTF-8")?.to_owned();
        let mut world = include_str!("mesh.yaml").to_owned();
        for (version, node) in [("v1", "node-2"), ("v2", "node-1"), ("v3", "node-2")] {
            world.push_str(&include_str!("echo.yaml").replace("VERSION", version).replace("NODE", node));
        }
        for host in hosts {
            write!(
                world,
                "\n---\n{{apiVersion: v1, kind: Service, metadata: {{name: {host}}}, spec: {{selector: {{app: echo}}, ports: {PORTS}}}}}"
            )?;
        }
        let file = std::env::temp_dir().join(format!("heddle-mesh-{name}-{}.yaml", std::process::id()));
        std::fs::write(&file, world)?;
        let image = format!("heddle-probe={probe}");
        let sandbox = Sandbox::up(name, &["--nodes", "2", "-f", &file.to_string_lossy(), "--image", &image]);
        std::fs::remove_file(&file)?;
        let mut mesh = Self { sandbox: sandbox?, probe };
        if std::env::var_os("HEDDLE_TEST_KEEP").is_some() {
            mesh.sandbox.keep();
        }
        mesh.apply(manifests)?;
        mesh.sandbox.run(&["sandbox", "wait", "-A", "--for", "ready", "--timeout", "60s"])?;
        mesh.sandbox.synced()?;
        Ok(mesh)
    }

    /// Applies a manifest and waits until it is in force; what `apply` said.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let id = std::thread::current().id();
        let file = self.sandbox.directory().join(format!("apply-{id:?}.yaml"));
        std::fs::write(&file, manifest)?;
        let output = self.sandbox.output(&["sandbox", "apply", "-f", &file.to_string_lossy()])?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "apply: {errors}");
        self.sandbox.synced()?;
        Ok(errors)
    }

    /// Deletes an object and waits until that is in force.
    ///
    /// # Errors
    /// There is none.
    pub fn delete(&self, kind: &str, name: &str, namespace: &str) -> Result<()> {
        self.sandbox.run(&["sandbox", "delete", kind, name, "-n", namespace])?;
        self.sandbox.synced()
    }

    /// `curl` in `default/client`.
    ///
    /// # Errors
    /// curl got no answer.
    pub fn call(&self, url: &str, arguments: &[&str]) -> Result<Reply> {
        self.call_from("default", "client", url, arguments)
    }

    /// `curl` in any pod.
    ///
    /// # Errors
    /// curl got no answer.
    pub fn call_from(&self, namespace: &str, pod: &str, url: &str, arguments: &[&str]) -> Result<Reply> {
        let mut argv = vec!["curl", "-sS", "-m", "15", "-D", "/dev/stderr", "-w", "\n%{time_total}"];
        argv.extend_from_slice(arguments);
        argv.push(url);
        let output = self.sandbox.exec(namespace, pod, &argv)?;
        let (said, text) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        ensure!(output.status.success(), "curl {arguments:?} {url}: {}", said.trim());
        let (body, seconds) = text.rsplit_once('\n').context("curl")?;
        Reply::read(&said, body, seconds.parse()?)
    }

    /// Which version answers, by `"version"` of its reply.
    ///
    /// # Errors
    /// There is no reply, or not from a version.
    pub fn version(&self, url: &str, arguments: &[&str]) -> Result<String> {
        let reply = self.call(url, arguments)?;
        let version = reply.json().ok().and_then(|said| said["version"].as_str().map(str::to_owned));
        version.with_context(|| format!("curl {arguments:?} {url}: {reply:?}"))
    }

    /// Runs the probe in `default/client` and reads the JSON that it prints.
    ///
    /// # Errors
    /// It failed, or printed something else.
    pub fn probe(&self, arguments: &[&str]) -> Result<Value> {
        self.probe_from("default", "client", arguments)
    }

    /// As [`Self::probe`], in any pod.
    ///
    /// # Errors
    /// It failed, or printed something else.
    pub fn probe_from(&self, namespace: &str, pod: &str, arguments: &[&str]) -> Result<Value> {
        let argv = [&[self.probe.as_str()], arguments].concat();
        let output = self.sandbox.exec(namespace, pod, &argv)?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {}", errors.trim());
        serde_json::from_slice(&output.stdout).with_context(|| format!("{arguments:?}: {errors}"))
    }

    /// How many requests with an `x-key` the versions have seen, all together.
    ///
    /// # Errors
    /// A pod does not answer.
    pub fn seen(&self, key: &str) -> Result<u64> {
        let count = |version: &str| {
            let argv = ["curl", "-sS", "-m", "5", &format!("http://127.0.0.1:8080/seen/{key}")];
            let output = self.sandbox.exec("default", &format!("deploy/echo-{version}"), &argv)?;
            let said: Value = serde_json::from_slice(&output.stdout)?;
            said["seen"].as_u64().context("seen")
        };
        Ok(count("v1")? + count("v2")? + count("v3")?)
    }

    /// Lines of a node's access log that hold a text.
    ///
    /// # Errors
    /// There is no log.
    pub fn access_log(&self, node: &str, text: &str) -> Result<Vec<String>> {
        let log = std::fs::read_to_string(self.sandbox.directory().join(format!("nodes/{node}/access.log")))?;
        Ok(log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect())
    }

    /// Kilobytes that a node's agent has resident.
    ///
    /// # Errors
    /// It is not running.
    pub fn agent_rss(&self, node: &str) -> Result<u64> {
        let mut most = 0;
        for pid in self.sandbox.agent_pids(node)? {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let size = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            most = most.max(size.unwrap_or(0));
        }
        ensure!(most > 0, "no agent runs on {node}");
        Ok(most)
    }
}

impl Reply {
    fn read(headers: &str, body: &str, seconds: f64) -> Result<Self> {
        let blocks = headers.replace("\r\n", "\n");
        let block = blocks.split("\n\n").filter(|block| block.contains("HTTP/")).last();
        let block = block.with_context(|| format!("no response: {headers}"))?;
        let block = &block[block.find("HTTP/").unwrap_or(0)..];
        let status = block.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        let pairs = block.lines().skip(1).filter_map(|line| line.split_once(':'));
        Ok(Self {
            status: status.with_context(|| format!("no status: {block}"))?,
            headers: pairs.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect(),
            body: body.to_owned(),
            seconds,
        })
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("{self:?}"))
    }

    /// The values of a header, by comma.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(each, _)| each == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(","))
    }
}
