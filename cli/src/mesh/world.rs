//! The mesh that is read: its nodes, their agents, the controller, and pods as kubectl names them.

mod cluster;
mod sandbox;

use serde_json::Value;

use super::Failure;
use crate::which::{Chosen, Which};
pub(super) use cluster::Mesh;
use sandbox::Sandbox;

/// A sandbox of this machine, or a cluster.
pub(super) enum World {
    /// By its sockets and files.
    Sandbox(Sandbox),
    /// By the API server.
    Cluster(Box<Mesh>),
}

/// One node of it.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) name: String,
    at: At,
}

/// Where its agent is.
#[derive(Clone)]
enum At {
    Folder(sandbox::Folder),
    /// The pod that runs it; else why there is none.
    Pod(Result<String, String>),
}

/// A pod, as the kubelet's record on its node or the API server has it.
pub(super) struct PodRecord {
    pub(super) node: Node,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) addresses: Vec<String>,
}

/// What a person wrote for a pod.
struct Named<'a> {
    /// Not that of `-n`.
    namespace: Option<&'a str>,
    /// The word before the slash, where it is a kind that has pods.
    owner: Option<&'static str>,
    name: &'a str,
}

impl World {
    pub(super) fn open(which: &Which) -> Result<Self, Failure> {
        match which.choose()? {
            Chosen::Sandbox(name) => Ok(Self::Sandbox(Sandbox::open(&name)?)),
            Chosen::Cluster => Ok(Self::Cluster(Box::new(Mesh::open(which.cluster()?)?))),
        }
    }

    /// Sees what changed since.
    pub(super) fn look_again(&mut self) -> Result<(), Failure> {
        match self {
            Self::Sandbox(_) => Ok(()),
            Self::Cluster(mesh) => mesh.look(),
        }
    }

    /// Its nodes, sorted.
    pub(super) fn nodes(&self) -> Vec<Node> {
        match self {
            Self::Sandbox(sandbox) => sandbox.nodes(),
            Self::Cluster(mesh) => mesh.nodes(),
        }
    }

    /// One of them.
    pub(super) fn node(&self, name: &str) -> Result<Node, Failure> {
        let nodes = self.nodes();
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let missing = format!("{} has no node '{name}'; it has {}", self.name(), names.join(", "));
        nodes.iter().find(|node| node.name == name).cloned().ok_or(Failure(missing))
    }

    fn name(&self) -> String {
        match self {
            Self::Sandbox(sandbox) => format!("sandbox {}", sandbox.name),
            Self::Cluster(mesh) => format!("the cluster of context '{}'", mesh.cluster.name),
        }
    }

    /// What the controller's admin socket answers.
    pub(super) fn controller(&self, path: &str) -> Result<Value, Failure> {
        match self {
            Self::Sandbox(sandbox) => sandbox.controller(path),
            Self::Cluster(mesh) => mesh.controller(path),
        }
    }

    /// What the admin socket of a node's agent answers.
    pub(super) fn agent(&self, node: &Node, path: &str) -> Result<Value, Failure> {
        self.agents(std::slice::from_ref(node), path).remove(0)
    }

    /// The same of several, in their order; of a cluster several at a time.
    pub(super) fn agents(&self, nodes: &[Node], path: &str) -> Vec<Result<Value, Failure>> {
        match self {
            Self::Sandbox(_) => nodes.iter().map(|node| node.folder()?.agent(&node.name, path)).collect(),
            Self::Cluster(mesh) => mesh.agents(nodes, path),
        }
    }

    /// What the agent answers to a question; what is wrong with the question is the error.
    pub(super) fn agent_asked(&self, node: &Node, path: &str, question: &Value) -> Result<Value, Failure> {
        match self {
            Self::Sandbox(_) => node.folder()?.agent_asked(&node.name, path, question),
            Self::Cluster(mesh) => mesh.agent_asked(node, path, question),
        }
    }

    /// The pod that is named as kubectl names it: NAME, NAMESPACE/NAME, pod/NAME, or deploy/NAME for the first of one. Without a
    /// namespace: of the context, in a sandbox `default`.
    pub(super) fn pod(&self, namespace: Option<&str>, text: &str) -> Result<PodRecord, Failure> {
        let named = Named::read(text);
        let namespace = named.namespace.or(namespace);
        match self {
            Self::Sandbox(sandbox) => sandbox.pod(namespace.unwrap_or("default"), &named),
            Self::Cluster(mesh) => mesh.pod(namespace.unwrap_or(&mesh.cluster.namespace), &named),
        }
    }
}

impl Node {
    fn folder(&self) -> Result<&sandbox::Folder, Failure> {
        match &self.at {
            At::Folder(folder) => Ok(folder),
            At::Pod(_) => Err(Failure(format!("{} is no node of a sandbox", self.name))),
        }
    }

    /// Log and access log of its agent, where they are files.
    pub(super) fn logs(&self) -> Vec<std::path::PathBuf> {
        match &self.at {
            At::Folder(folder) => folder.logs().into(),
            At::Pod(_) => Vec::new(),
        }
    }
}

impl<'a> Named<'a> {
    fn read(text: &'a str) -> Self {
        let (before, name) = match text.split_once('/') {
            Some((before, name)) => (Some(before), name),
            None => (None, text),
        };
        let (namespace, owner) = match before {
            None | Some("pod" | "pods" | "po") => (None, None),
            Some("deploy" | "deployment" | "deployments" | "deployments.apps" | "deployment.apps") => {
                (None, Some("deployments"))
            }
            Some("sts" | "statefulset" | "statefulsets") => (None, Some("statefulsets")),
            Some("ds" | "daemonset" | "daemonsets") => (None, Some("daemonsets")),
            Some("rs" | "replicaset" | "replicasets") => (None, Some("replicasets")),
            Some(namespace) => (Some(namespace), None),
        };
        Self { namespace, owner, name }
    }
}
