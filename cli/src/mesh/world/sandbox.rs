//! One running sandbox, found by its name: its nodes, their sockets and logs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{At, Named, Node, PodRecord};
use crate::mesh::{Failure, ask};
use crate::which::RUN;

/// A sandbox.
pub(in crate::mesh) struct Sandbox {
    pub(super) name: String,
    directory: PathBuf,
}

/// Where one of its nodes keeps its things.
#[derive(Clone)]
pub(super) struct Folder(PathBuf);

impl Sandbox {
    pub(super) fn open(name: &str) -> Result<Self, Failure> {
        Self::below(Path::new(RUN), name)
    }

    fn below(run: &Path, name: &str) -> Result<Self, Failure> {
        let directory = run.join(name);
        let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        if plain && directory.join("sandbox.json").is_file() {
            return Ok(Self { name: name.to_owned(), directory });
        }
        let mut others: Vec<String> = fs::read_dir(run)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().join("sandbox.json").is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        others.sort_unstable();
        Err(Failure(match others.as_slice() {
            [] => format!("no sandbox '{name}' is running; start it: heddle sandbox up --name {name}"),
            _ => format!(
                "no sandbox '{name}' is running; name one that is ({}): --sandbox {}; or start it: heddle sandbox up --name {name}",
                others.join(", "),
                others[0]
            ),
        }))
    }

    /// Its nodes, sorted.
    pub(super) fn nodes(&self) -> Vec<Node> {
        let entries = fs::read_dir(self.directory.join("nodes")).into_iter().flatten().flatten();
        let mut nodes: Vec<Node> = entries
            .filter(|entry| entry.path().is_dir())
            .map(|entry| Node {
                name: entry.file_name().to_string_lossy().into_owned(),
                at: At::Folder(Folder(entry.path())),
            })
            .collect();
        nodes.sort_by_key(|node| (node.name.len(), node.name.clone()));
        nodes
    }

    /// What the controller's admin socket answers.
    pub(super) fn controller(&self, path: &str) -> Result<Value, Failure> {
        let socket = self.directory.join("controller/admin.sock");
        ask::get(&socket, path).map_err(|reason| {
            let log = self.directory.join("controller/controller.log");
            Failure(format!(
                "the controller of sandbox {} does not answer ({reason}); its log: {}",
                self.name,
                log.display()
            ))
        })
    }

    /// The first pod of this name, or of an owner of this name.
    pub(super) fn pod(&self, namespace: &str, named: &Named<'_>) -> Result<PodRecord, Failure> {
        let (name, owner) = (named.name, named.owner.is_some());
        let mut pods = self.pods();
        pods.retain(|pod| {
            let of_owner = || pod.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
            pod.namespace == namespace && (pod.name == name && !owner || owner && of_owner())
        });
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        let missing = || {
            Failure(format!(
                "no pod '{name}' runs in namespace '{namespace}'; `heddle sandbox get pods -A --name {}` lists them",
                self.name
            ))
        };
        if pods.is_empty() { Err(missing()) } else { Ok(pods.remove(0)) }
    }

    fn pods(&self) -> Vec<PodRecord> {
        let nodes = self.nodes();
        nodes
            .iter()
            .flat_map(|node| node.folder().map(|folder| folder.pods(node)).unwrap_or_default())
            .collect()
    }
}

impl Folder {
    /// What the agent's admin socket answers.
    pub(super) fn agent(&self, node: &str, path: &str) -> Result<Value, Failure> {
        let socket = self.0.join("agent.sock");
        ask::get(&socket, path).map_err(|reason| {
            let [log, _] = self.logs();
            Failure(format!("the agent of {node} does not answer ({reason}); its log: {}", log.display()))
        })
    }

    /// What the agent answers to a question; what is wrong with the question is the error.
    pub(super) fn agent_asked(&self, node: &str, path: &str, question: &Value) -> Result<Value, Failure> {
        let socket = self.0.join("agent.sock");
        ask::post(&socket, path, question).map_err(|reason| Failure(format!("the agent of {node}: {reason}")))
    }

    /// Log and access log of its agent.
    pub(super) fn logs(&self) -> [PathBuf; 2] {
        ["agent.log", "access.log"].map(|name| self.0.join(name))
    }

    fn pods(&self, node: &Node) -> Vec<PodRecord> {
        let entries = fs::read_dir(self.0.join("pods")).into_iter().flatten().flatten();
        let records = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "json"));
        records
            .filter_map(|entry| serde_json::from_slice::<Value>(&fs::read(entry.path()).ok()?).ok())
            .map(|record| {
                let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
                let addresses = record["ips"].as_array().into_iter().flatten();
                PodRecord {
                    node: node.clone(),
                    namespace: text("namespace"),
                    name: text("name"),
                    uid: text("uid"),
                    addresses: addresses.filter_map(Value::as_str).map(str::to_owned).collect(),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::World;
    use super::*;

    fn world() -> (PathBuf, World) {
        let run = std::env::temp_dir().join(format!(
            "heddle-world-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let pods = run.join("w/nodes/node-1/pods");
        fs::create_dir_all(&pods).unwrap();
        fs::create_dir_all(run.join("w/nodes/node-10")).unwrap();
        fs::create_dir_all(run.join("w/nodes/node-2")).unwrap();
        fs::write(run.join("w/sandbox.json"), "{}").unwrap();
        let record = r#"{"uid":"u1","namespace":"default","name":"backend-7d-x","ips":["10.244.1.2"]}"#;
        fs::write(pods.join("u1.json"), record).unwrap();
        let world = World::Sandbox(Sandbox::below(&run, "w").ok().unwrap());
        (run, world)
    }

    #[test]
    fn pods_are_found_as_kubectl_names_them_and_what_is_missing_says_what_to_do() {
        let (run, world) = world();
        for text in ["backend-7d-x", "pod/backend-7d-x", "default/backend-7d-x", "deploy/backend"] {
            assert_eq!(world.pod(None, text).ok().unwrap().uid, "u1", "{text}");
        }
        assert!(world.pod(Some("other"), "backend-7d-x").is_err());
        assert!(world.pod(Some("default"), "deploy/back").is_err());
        let names: Vec<String> = world.nodes().into_iter().map(|node| node.name).collect();
        assert_eq!(names, ["node-1", "node-2", "node-10"]);
        let Failure(message) = world.node("node-3").err().unwrap();
        assert_eq!(message, "sandbox w has no node 'node-3'; it has node-1, node-2, node-10");
        let Failure(message) = Sandbox::below(&run, "other").err().unwrap();
        assert!(
            message.contains("(w): --sandbox w") && message.contains("heddle sandbox up --name other"),
            "{message}"
        );
        let Failure(message) = world.controller("/status").err().unwrap();
        assert!(message.contains("does not answer") && message.contains("controller.log"), "{message}");
        fs::remove_dir_all(run).unwrap();
    }
}
