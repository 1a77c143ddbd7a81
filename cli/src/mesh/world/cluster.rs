//! The mesh of a cluster: its agents and its controller are pods, and are asked by their own admin verbs.

use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use super::{At, Named, Node, PodRecord};
use crate::cluster::{
    Cluster, Command, NODES, PODS, Resource, SYSTEM, is_linux, is_ready, is_running, reason,
};
use crate::mesh::Failure;

/// Agents that are asked at a time.
const AT_ONCE: usize = 16;

/// A cluster with Heddle in it, as it was when the verb began.
pub(in crate::mesh) struct Mesh {
    pub(super) cluster: Cluster,
    nodes: Vec<Node>,
    /// Its pod, else why there is none.
    controller: Result<String, String>,
}

impl Mesh {
    /// Finds Heddle's pods.
    pub(super) fn open(cluster: Cluster) -> Result<Self, Failure> {
        let mut mesh = Self { cluster, nodes: Vec::new(), controller: Err(String::new()) };
        mesh.look()?;
        Ok(mesh)
    }

    /// Finds them again: pods come and go.
    pub(super) fn look(&mut self) -> Result<(), Failure> {
        let cluster = &self.cluster;
        let found = cluster.block_on(async {
            let pods = async |selector: &'static str| cluster.list(PODS, Some(SYSTEM), selector).await;
            tokio::try_join!(pods("app=heddle-agent"), pods("app=heddle-controller"))
        });
        let (agents, controllers) = found.map_err(|trouble| cluster.tell(&trouble))?;
        if agents.is_empty() && controllers.is_empty() {
            return Err(Failure(format!(
                "Heddle is not installed in the cluster of context '{}' (no pod of it runs in {SYSTEM}): heddle install --apply",
                cluster.name
            )));
        }
        let nodes = match cluster.block_on(cluster.list(NODES, None, "")) {
            Ok(nodes) => nodes
                .iter()
                .filter(|node| is_linux(node))
                .map(|node| text(&node["metadata"]["name"]))
                .collect(),
            // Who may not list nodes sees those that have an agent.
            Err(trouble) if trouble.is_forbidden() => {
                agents.iter().map(|pod| text(&pod["spec"]["nodeName"])).collect()
            }
            Err(trouble) => return Err(cluster.tell(&trouble)),
        };
        let controller = running(controllers.iter(), "controller");
        self.controller = controller.map_err(|why| why.unwrap_or_else(|| "it has no pod".to_owned()));
        self.nodes = with_agents(nodes, &agents);
        Ok(())
    }

    pub(super) fn nodes(&self) -> Vec<Node> {
        self.nodes.clone()
    }

    pub(super) fn controller(&self, path: &str) -> Result<Value, Failure> {
        let see = format!("kubectl -n {SYSTEM} get pods -l app=heddle-controller");
        let pod = self.controller.as_ref();
        let pod = pod.map_err(|why| Failure(format!("the controller does not run ({why}); see: {see}")))?;
        let command = command(pod, "controller", &["heddle-controller", "admin", "GET", path]);
        let answer = self.cluster.block_on(self.ask(&command));
        answer.map_err(|why| Failure(format!("the controller (pod {pod}) does not answer: {why}")))
    }

    pub(super) fn agents(&self, nodes: &[Node], path: &str) -> Vec<Result<Value, Failure>> {
        let asked = nodes.iter().map(async |node| self.agent(node, &["GET", path]).await);
        self.cluster.block_on(stream::iter(asked).buffered(AT_ONCE).collect())
    }

    pub(super) fn agent_asked(&self, node: &Node, path: &str, question: &Value) -> Result<Value, Failure> {
        let question = question.to_string();
        self.cluster.block_on(self.agent(node, &["POST", path, "--data", &question]))
    }

    async fn agent(&self, node: &Node, question: &[&str]) -> Result<Value, Failure> {
        let pod = node.pod()?;
        let words: Vec<&str> = ["heddle-agent", "admin"].iter().chain(question).copied().collect();
        let answer = self.ask(&command(pod, "agent", &words)).await;
        answer.map_err(|why| Failure(format!("the agent of {} (pod {pod}): {why}", node.name)))
    }

    async fn ask(&self, command: &Command) -> Result<Value, String> {
        let answer = self.cluster.exec(command).await.map_err(|trouble| self.cluster.tell(&trouble).0)?;
        serde_json::from_slice(&answer).map_err(|error| format!("its answer is not JSON: {error}"))
    }

    /// What the agent of a node printed: log and access log, from the API server.
    pub(in crate::mesh) fn log(&self, node: &Node) -> Result<String, Failure> {
        let pod = node.pod()?;
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}/log?container=agent");
        self.cluster.block_on(self.cluster.read_text(&path)).map_err(|trouble| self.cluster.tell(&trouble))
    }

    /// The same from the moment on, line by line, until the agent ends.
    pub(in crate::mesh) fn follow(&self, node: &Node, line: impl FnMut(&str) -> bool) -> Result<(), Failure> {
        let pod = node.pod()?;
        let path =
            format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}/log?container=agent&follow=true&sinceSeconds=1");
        self.cluster
            .block_on(self.cluster.read_lines(&path, line))
            .map_err(|trouble| self.cluster.tell(&trouble))
    }

    pub(super) fn pod(&self, namespace: &str, named: &Named<'_>) -> Result<PodRecord, Failure> {
        let found = self.cluster.block_on(self.find(namespace, named))?;
        let node = text(&found["spec"]["nodeName"]);
        let (name, uid) = (text(&found["metadata"]["name"]), text(&found["metadata"]["uid"]));
        if node.is_empty() {
            return Err(Failure(format!(
                "pod {namespace}/{name} has no node yet; see: kubectl -n {namespace} describe pod {name}"
            )));
        }
        let at = At::Pod(Err("it is not among the cluster's nodes".to_owned()));
        let known = self.nodes.iter().find(|known| known.name == node).cloned();
        let node = known.unwrap_or(Node { name: node, at });
        let addresses = found["status"]["podIPs"].as_array().into_iter().flatten();
        let addresses = addresses.filter_map(|each| each["ip"].as_str().map(str::to_owned)).collect();
        Ok(PodRecord { node, namespace: namespace.to_owned(), name, uid, addresses })
    }

    async fn find(&self, namespace: &str, named: &Named<'_>) -> Result<Value, Failure> {
        let (cluster, name) = (&self.cluster, named.name);
        let Some(plural) = named.owner else {
            return cluster.get(PODS, Some(namespace), name).await.map_err(|trouble| match trouble.is_absent() {
                true => Failure(format!(
                    "no pod '{name}' in namespace '{namespace}' of context '{}'; `kubectl get pods -A` lists them, -n chooses a namespace",
                    cluster.name
                )),
                false => cluster.tell(&trouble),
            });
        };
        let owners = Resource { api_version: "apps/v1", plural };
        let owner =
            cluster.get(owners, Some(namespace), name).await.map_err(|trouble| cluster.tell(&trouble))?;
        let selector = selector(&owner["spec"]["selector"]);
        let pods = cluster.list(PODS, Some(namespace), &selector).await;
        let mut pods = pods.map_err(|trouble| cluster.tell(&trouble))?;
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        // Running ones first, then by name, so that the same one is shown again.
        pods.sort_by_key(|pod| (pod["status"]["phase"] != "Running", text(&pod["metadata"]["name"])));
        let first = pods.into_iter().next();
        first.ok_or_else(|| Failure(format!("{plural} '{name}' in namespace '{namespace}' has no pod now")))
    }
}

impl Node {
    /// The pod of its agent.
    fn pod(&self) -> Result<&str, Failure> {
        match &self.at {
            At::Pod(Ok(pod)) => Ok(pod),
            At::Pod(Err(why)) => Err(Failure(format!(
                "no agent runs on node {} ({why}); see: kubectl -n {SYSTEM} get pods -l app=heddle-agent -o wide",
                self.name
            ))),
            At::Folder(_) => Err(Failure(format!("{} is a node of a sandbox", self.name))),
        }
    }
}

fn command(pod: &str, container: &'static str, words: &[&str]) -> Command {
    let words = words.iter().map(|&word| word.to_owned()).collect();
    Command { namespace: SYSTEM.to_owned(), pod: pod.to_owned(), container, words }
}

/// Nodes with the pods of their agents, sorted; a node that is gone and still has a pod counts too.
fn with_agents(mut names: Vec<String>, agents: &[Value]) -> Vec<Node> {
    names.extend(agents.iter().map(|pod| text(&pod["spec"]["nodeName"])).filter(|name| !name.is_empty()));
    names.sort_by_key(|name| (name.len(), name.clone()));
    names.dedup();
    let with_agent = |name: String| {
        let of_node = agents.iter().filter(|pod| pod["spec"]["nodeName"] == name.as_str());
        let pod =
            running(of_node, "agent").map_err(|why| why.unwrap_or_else(|| "it has no pod there".to_owned()));
        Node { name, at: At::Pod(pod) }
    };
    names.into_iter().map(with_agent).collect()
}

/// The pod whose container runs, one that is ready and stays first; else why none does, if there is a pod.
fn running<'a>(pods: impl Iterator<Item = &'a Value>, container: &str) -> Result<String, Option<String>> {
    let mut pods: Vec<&Value> = pods.collect();
    pods.sort_by_key(|pod| (!pod["metadata"]["deletionTimestamp"].is_null(), !is_ready(pod)));
    match pods.iter().find(|pod| is_running(pod, container)) {
        Some(pod) => Ok(text(&pod["metadata"]["name"])),
        None => Err(pods.first().map(|pod| reason(pod, container))),
    }
}

/// A LabelSelector as a query has it.
fn selector(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels = labels.map(|(key, value)| format!("{key}={}", text(value)));
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten().filter_map(|each| {
        let key = each["key"].as_str()?;
        let values: Vec<&str> =
            each["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        Some(match each["operator"].as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        })
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
