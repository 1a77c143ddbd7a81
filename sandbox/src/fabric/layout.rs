//! Where a sandbox keeps what on disk and which names it carries.

use std::path::{Path, PathBuf};

/// The names and paths of one sandbox: everything lies below `/run/heddle/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    name: String,
    root: PathBuf,
}

impl Layout {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), root: Path::new("/run/heddle").join(name) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `/run/heddle/NAME`
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn description(&self) -> PathBuf {
        self.root.join("sandbox.json")
    }

    pub fn api_socket(&self) -> PathBuf {
        self.root.join("api.sock")
    }

    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    pub fn status(&self) -> PathBuf {
        self.root.join("status")
    }

    pub fn controller(&self) -> PathBuf {
        self.root.join("controller")
    }

    /// `nodes/NODE`: what belongs to one node, its agent's files among them.
    pub fn node(&self, node: &str) -> PathBuf {
        self.root.join("nodes").join(node)
    }

    /// The record of a pod that exists on the node; the agent reads these.
    pub fn pod_record(&self, node: &str, uid: &str) -> PathBuf {
        self.node(node).join("pods").join(format!("{uid}.json"))
    }

    /// Present while the agent has the pod captured.
    pub fn captured(&self, node: &str, uid: &str) -> PathBuf {
        self.node(node).join("captured").join(uid)
    }

    /// `pods/UID`: resolv.conf, hosts, tmp, volumes and the logs of the containers.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    pub fn container_log(&self, uid: &str, container: &str) -> PathBuf {
        self.pod(uid).join(format!("{container}.log"))
    }

    /// How a process enters the container; see `container::Entry`.
    pub fn container_entry(&self, uid: &str, container: &str) -> PathBuf {
        self.pod(uid).join(format!("{container}.json"))
    }

    /// The container's process id, there from the moment its root is complete.
    pub fn container_pid(&self, uid: &str, container: &str) -> PathBuf {
        self.pod(uid).join(format!("{container}.pid"))
    }

    /// The directory of the sandbox's cgroups below the cgroup2 root.
    pub fn cgroup_name(&self) -> String {
        format!("heddle-{}", self.name)
    }
}
