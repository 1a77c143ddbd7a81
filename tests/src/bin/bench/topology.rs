//! The world that is measured: three pairs of pods on two nodes, and how a client reaches its server in each.

use std::fs;
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};
use heddle_tests::sandbox::Sandbox;

/// The sandbox's name.
pub(crate) const NAME: &str = "bench-l4";

/// A way from client to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    Mesh,
    Relay,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Direct, Self::Mesh, Self::Relay];

    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Direct => "bench-direct",
            Self::Mesh => "bench-mesh",
            Self::Relay => "bench-relay",
        }
    }
}

/// The running world.
pub(crate) struct Topology {
    pub(crate) sandbox: Sandbox,
    /// IPv4 address of each way's server.
    servers: [String; 3],
}

impl Topology {
    pub(crate) fn up() -> Result<Self> {
        let mut servers =
            Way::ALL.map(|way| include_str!("server.yaml").replace("NAMESPACE", way.namespace()));
        servers[Way::Relay as usize] += &relay("127.0.0.1:80", "127.0.0.1:5201");
        let manifest = Manifest::new(&[include_str!("world.yaml"), &servers.join("---\n")].join("---\n"))?;
        let sandbox = Sandbox::up(NAME, &["--nodes", "2", "-f", &manifest.0])?;
        let server = |way: Way| {
            sandbox.pod_addresses(way.namespace(), "server")?.into_iter().next().context("no address")
        };
        let servers = [server(Way::Direct)?, server(Way::Mesh)?, server(Way::Relay)?];
        let topology = Self { sandbox, servers };
        topology.clients()?;
        for way in Way::ALL {
            topology.cubic(way, "client")?;
            topology.cubic(way, "server")?;
        }
        topology.sandbox.synced()?;
        Ok(topology)
    }

    /// Where the client of a way sends its HTTP requests.
    pub(crate) fn http(&self, way: Way) -> String {
        match way {
            Way::Relay => "127.0.0.1:8080".into(),
            _ => format!("{}:80", self.servers[way as usize]),
        }
    }

    /// Where it sends bulk data.
    pub(crate) fn bulk(&self, way: Way) -> (&str, u16) {
        match way {
            Way::Relay => ("127.0.0.1", 8081),
            _ => (&self.servers[way as usize], 5201),
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

    /// After the servers: the relay beside a client is told its server's address.
    fn clients(&self) -> Result<()> {
        let mut clients =
            Way::ALL.map(|way| include_str!("client.yaml").replace("NAMESPACE", way.namespace()));
        let server = &self.servers[Way::Relay as usize];
        clients[Way::Relay as usize] += &relay(&format!("{server}:8080"), &format!("{server}:8081"));
        let manifest = Manifest::new(&clients.join("---\n"))?;
        self.sandbox.run(&["sandbox", "apply", "-f", &manifest.0])?;
        for way in Way::ALL {
            let namespace = ["-n", way.namespace(), "--for", "ready", "--timeout", "30s"];
            self.sandbox.run(&[&["sandbox", "wait", "pod/client"][..], &namespace].concat())?;
        }
        Ok(())
    }

    /// The machine's default may be another, which paces and hides what is measured.
    fn cubic(&self, way: Way, pod: &str) -> Result<()> {
        let write = "echo cubic > /proc/sys/net/ipv4/tcp_congestion_control";
        let output = self.sandbox.exec(way.namespace(), pod, &["sh", "-c", write])?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cubic in {}/{pod}: {}", way.namespace(), stderr.trim());
        Ok(())
    }
}

/// The container that relays in a pod's own network namespace, with as many threads as an agent has workers.
fn relay(http: &str, bulk: &str) -> String {
    let threads = available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)).to_string();
    let words = [("THREADS", threads.as_str()), ("HTTP", http), ("BULK", bulk)];
    words.iter().fold(include_str!("relay.yaml").to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A manifest on disk, gone when dropped.
pub(crate) struct Manifest(pub(crate) String);

impl Manifest {
    pub(crate) fn new(text: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("heddle-bench-{}.yaml", std::process::id()));
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(Self(path.to_str().context("path is not UTF-8")?.to_owned()))
    }
}

impl Drop for Manifest {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
