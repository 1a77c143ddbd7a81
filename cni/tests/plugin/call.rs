//! A call of the plugin, changed field by field from one that is right.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

pub(crate) const UID: &str = "6a1f6d0e-6f2b-4a56-9d1f-3b6a0f0f7c11";

/// A folder of root's own.
pub(crate) struct World(tempfile::TempDir);

impl World {
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "tests of the plugin need root");
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.path().join("cni.sock")
    }

    pub(crate) fn namespaces(&self) -> PathBuf {
        self.0.path().join("namespaces.json")
    }
}

pub(crate) struct Call {
    variables: BTreeMap<String, String>,
    config: Value,
    stdin: Option<String>,
}

pub(crate) struct Printed {
    pub(crate) code: i32,
    stdout: String,
}

impl Printed {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// The exit code of a call that prints nothing.
    pub(crate) fn nothing(&self) -> i32 {
        assert_eq!(self.stdout, "");
        self.code
    }
}

impl Call {
    pub(crate) fn add(world: &World) -> Self {
        Self::new(world, "ADD")
    }

    pub(crate) fn new(world: &World, command: &str) -> Self {
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=sandbox1;K8S_POD_UID={UID}"
        );
        let variables = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "sandbox1"),
            ("CNI_NETNS", "/var/run/netns/cni-1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", &args),
            ("CNI_PATH", "/opt/cni/bin"),
        ];
        let config = json!({
            "cniVersion": "1.0.0", "name": "dbnet", "type": "heddle-cni", "socket": world.socket(),
            "namespacesFile": world.namespaces(), "runtimeConfig": {"portMappings": []}, "timeoutSeconds": 20,
            "prevResult": ptp_result(),
        });
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { variables, config, stdin: None }
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Only the command.
    pub(crate) fn without_variables(mut self) -> Self {
        self.variables.retain(|name, _| name == "CNI_COMMAND");
        self
    }

    pub(crate) fn config(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    pub(crate) fn version(self, version: &str) -> Self {
        self.config("cniVersion", json!(version))
    }

    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    pub(crate) fn run(&self) -> Printed {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heddle-cni"));
        command.env_clear().envs(&self.variables).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let text = self.stdin.clone().unwrap_or_else(|| self.config.to_string());
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        Printed { code: output.status.code().unwrap(), stdout: String::from_utf8(output.stdout).unwrap() }
    }
}

/// As the ptp plugin prints it, dual stack.
pub(crate) fn ptp_result() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "veth0a1b2c3d", "mac": "7a:0c:5d:f1:aa:01"},
            {"name": "eth0", "mac": "1e:aa:00:00:00:07", "sandbox": "/var/run/netns/cni-1"}
        ],
        "ips": [
            {"interface": 1, "address": "10.244.1.7/24", "gateway": "10.244.1.1"},
            {"interface": 0, "address": "10.244.1.1/32"},
            {"interface": 1, "address": "fd00:10:244:1::7/64", "gateway": "fd00:10:244:1::1"}
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0", "mtu": 1400}],
        "dns": {}
    })
}

/// The specification's example of a result, as the third plugin of its chain gets it.
pub(crate) fn dbnet() -> Value {
    json!({
        "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55"},
            {"name": "veth3243", "mac": "55:44:33:22:11:11"},
            {"name": "eth0", "mac": "00:11:22:33:44:66", "sandbox": "/var/run/netns/blue"}
        ],
        "dns": {"nameservers": ["10.1.0.1"]}
    })
}
