//! Three pairs of pods on two nodes: without a mesh, in the mesh with routes, and with Envoy on both sides.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use heddle_tests::sandbox::{Sandbox, eventually};
use serde_json::Value;

use super::certificates::Certificates;
use super::{cpu, envoy, rules};
use crate::footprint::{NODES, agent, rss_of};
use crate::topology::Manifest;

const NAME: &str = "bench-l7";

/// A way from client to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    Mesh,
    Envoy,
}

impl Way {
    const ALL: [Self; 3] = [Self::Direct, Self::Mesh, Self::Envoy];

    fn namespace(self) -> &'static str {
        match self {
            Self::Direct => "bench-direct",
            Self::Mesh => "bench-l7",
            Self::Envoy => "bench-envoy",
        }
    }
}

/// What is spoken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Grpc,
}

/// The running world.
pub(crate) struct World {
    sandbox: Sandbox,
    /// IPv4 address of the server without a mesh.
    direct: String,
    envoy: Result<String>,
    routes: Option<usize>,
}

impl World {
    pub(crate) fn up(keep: bool) -> Result<Self> {
        println!("bringing up the sandbox \"{NAME}\"");
        let program = std::env::current_exe()?;
        let image = format!("heddle-bench={}", program.to_str().context("path is not UTF-8")?);
        let mut servers =
            Way::ALL.map(|way| include_str!("server.yaml").replace("NAMESPACE", way.namespace()));
        let binary = envoy::install();
        let certificates = Certificates::make()?;
        if let Ok(binary) = &binary {
            let config = write(&binary.path, "server", &envoy::server(&certificates))?;
            servers[Way::Envoy as usize] += &container(&binary.path, &config);
        }
        let manifest = Manifest::new(
            &[include_str!("world.yaml"), include_str!("mesh.yaml"), &servers.join("---\n")].join("---\n"),
        )?;
        let mut sandbox = Sandbox::up(NAME, &["--nodes", "2", "-f", &manifest.0, "--image", &image])?;
        if keep {
            sandbox.keep();
        }
        let address = |way: Way| {
            sandbox.pod_addresses(way.namespace(), "server")?.into_iter().next().context("no address")
        };
        let direct = address(Way::Direct)?;
        let mut clients =
            Way::ALL.map(|way| include_str!("../client.yaml").replace("NAMESPACE", way.namespace()));
        if let Ok(binary) = &binary {
            let config = write(&binary.path, "client", &envoy::client(&certificates, &address(Way::Envoy)?))?;
            clients[Way::Envoy as usize] += &container(&binary.path, &config);
        }
        let world = Self { sandbox, direct, envoy: binary.map(|binary| binary.version), routes: None };
        world.clients(&clients.join("---\n"))?;
        Ok(world)
    }

    /// What Envoy says of itself, or why there is none.
    pub(crate) fn envoy(&self) -> Result<&str, &anyhow::Error> {
        self.envoy.as_deref()
    }

    /// Puts so many rules into force; Envoy has a listener for each number.
    pub(crate) fn routes(&mut self, count: usize) -> Result<()> {
        let object = rules::virtual_service(count).to_string();
        let manifest = Manifest::new(&object)?;
        self.sandbox.run(&["sandbox", "apply", "-f", &manifest.0])?;
        self.sandbox.synced()?;
        self.routes = Some(count);
        Ok(())
    }

    /// Has both agents write a line for each request, or not.
    pub(crate) fn access_log(&self, on: bool) -> Result<()> {
        let text = include_str!("mesh.yaml");
        let text = if on { text.replace("\"\"", "/dev/stdout") } else { text.to_owned() };
        let manifest = Manifest::new(&text)?;
        self.sandbox.run(&["sandbox", "apply", "-f", &manifest.0])?;
        self.sandbox.synced()
    }

    /// Where the client of a way sends its requests.
    pub(crate) fn authority(&self, way: Way, protocol: Protocol) -> String {
        let (port, beside) = match protocol {
            Protocol::Http1 => (80, 8080),
            Protocol::Http2 => (81, 8082),
            Protocol::Grpc => (82, 8083),
        };
        let many = |count| envoy::ROUTES.iter().find(|(routes, _)| *routes == count).map(|(_, port)| *port);
        match way {
            Way::Direct => format!("{}:{port}", self.direct),
            Way::Mesh => format!("server:{port}"),
            Way::Envoy => format!("127.0.0.1:{}", self.routes.and_then(many).unwrap_or(beside)),
        }
    }

    /// Runs a program in the client's pod, half a minute at the most, and returns its output.
    pub(crate) fn in_client(&self, way: Way, argv: &[String]) -> Result<String> {
        let bounded: Vec<&str> =
            ["timeout", "-k", "2", "30"].into_iter().chain(argv.iter().map(String::as_str)).collect();
        let output = self.sandbox.exec(way.namespace(), "client", &bounded)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}: {}", argv.join(" "), output.status, stderr.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// CPU seconds so far of what stands between client and server; none for the direct way.
    pub(crate) fn cpu(&self, way: Way) -> Result<Option<f64>> {
        self.between(way)?.map(|pids| cpu(&pids)).transpose()
    }

    /// Memory of the larger of both.
    pub(crate) fn rss_mib(&self, way: Way) -> Result<f64> {
        let pids = self.between(way)?.context("nothing stands between")?;
        pids.into_iter().try_fold(0.0_f64, |most, pid| Ok(most.max(rss_of(pid)? / 1024.0)))
    }

    fn between(&self, way: Way) -> Result<Option<[u32; 2]>> {
        let envoy = |app: &str| {
            let pids = self.sandbox.pids(&self.sandbox.pod(way.namespace(), app)?)?;
            let is_envoy = |pid: &u32| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "envoy")
            };
            pids.into_iter().find(is_envoy).with_context(|| format!("no Envoy beside {app}"))
        };
        Ok(match way {
            Way::Direct => None,
            Way::Mesh => Some([agent(&self.sandbox, NODES[0])?, agent(&self.sandbox, NODES[1])?]),
            Way::Envoy => Some([envoy("client")?, envoy("server")?]),
        })
    }

    /// After the servers: the Envoy beside a client is told its server's address.
    fn clients(&self, text: &str) -> Result<()> {
        let manifest = Manifest::new(text)?;
        self.sandbox.run(&["sandbox", "apply", "-f", &manifest.0])?;
        for way in Way::ALL {
            let namespace = ["-n", way.namespace(), "--for", "ready", "--timeout", "30s"];
            self.sandbox.run(&[&["sandbox", "wait", "pod/client"][..], &namespace].concat())?;
            for pod in ["client", "server"] {
                let write = "echo cubic > /proc/sys/net/ipv4/tcp_congestion_control";
                let output = self.sandbox.exec(way.namespace(), pod, &["sh", "-c", write])?;
                ensure!(output.status.success(), "cubic in {}/{pod}: {}", way.namespace(), output.status);
            }
        }
        self.sandbox.synced()?;
        for way in Way::ALL.into_iter().filter(|way| *way != Way::Envoy || self.envoy.is_ok()) {
            for protocol in [Protocol::Http1, Protocol::Http2] {
                self.answers(way, protocol)?;
            }
        }
        Ok(())
    }

    /// Waits until a way is open from end to end.
    fn answers(&self, way: Way, protocol: Protocol) -> Result<()> {
        let version =
            if matches!(protocol, Protocol::Http1) { "--http1.1" } else { "--http2-prior-knowledge" };
        let url = format!("http://{}/", self.authority(way, protocol));
        let argv = ["curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", version, &url];
        let mut last = String::new();
        let open = eventually(std::time::Duration::from_secs(20), || {
            last = self.in_client(way, &argv.map(str::to_owned)).unwrap_or_else(|error| format!("{error:#}"));
            Ok(last == "200")
        });
        match open {
            Ok(_) => Ok(()),
            Err(_) => bail!("{way:?} {protocol:?}: {url} answers {last}"),
        }
    }
}

/// Beside the binary, which pods see; a pod's own `/tmp` is another.
fn write(binary: &Path, name: &str, config: &Value) -> Result<PathBuf> {
    let path = binary.with_file_name(format!("bench-{name}.json"));
    fs::write(&path, config.to_string()).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// The container beside an application, with as many threads as an agent has workers.
fn container(binary: &Path, config: &Path) -> String {
    let threads = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
    format!(
        "  - name: envoy\n    image: pause\n    command: [{:?}]\n    args: [\"-c\", {:?}, \"--concurrency\", \"{threads}\", \"--log-level\", \"error\", \"--use-dynamic-base-id\"]\n",
        binary.display().to_string(),
        config.display().to_string(),
    )
}
