//! The bodies of `/status` and `/index`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::published::Published;
use crate::registry::Unread;
use crate::xds::agents::{Agent, Agents};
use crate::xds::kind::ResourceKind;

/// The state of the mesh as the controller sees it.
#[derive(Clone, Debug, Serialize)]
pub struct StatusReport {
    /// Version of the controller.
    pub version: &'static str,
    /// Highest version of an object that is published.
    #[serde(rename = "resourceVersion")]
    pub resource_version: u64,
    /// Publication.
    pub generation: u64,
    /// Everything that was stored before the question is applied by every agent that is expected.
    pub synced: bool,
    /// Pods on their way into the mesh or out of it.
    pub moving: usize,
    /// In order of node.
    pub agents: Vec<AgentReport>,
    /// Objects and files that are not taken.
    pub problems: Vec<Unread>,
}

/// One agent.
#[derive(Clone, Debug, Serialize)]
pub struct AgentReport {
    /// Its node.
    pub node: String,
    /// Its version.
    pub version: String,
    /// It has a stream.
    pub connected: bool,
    /// By name of the type.
    pub types: BTreeMap<&'static str, TypeReport>,
    /// Pods of the node that are to be captured.
    pub workloads: usize,
    /// Certificates made for its pods since the controller started.
    pub certificates: u64,
}

/// How far an agent is with a type.
#[derive(Clone, Debug, Serialize)]
pub struct TypeReport {
    /// `SYNCED`, `STALE` or `NACK`.
    pub state: &'static str,
    /// Responses sent.
    pub sent: u64,
    /// Responses acknowledged.
    pub acked: u64,
    /// What the agent said.
    pub error: String,
    /// What it refused.
    pub refused: Vec<String>,
}

pub(super) fn status(
    published: Option<&Published>,
    agents: &Agents,
    token_nodes: &[Arc<str>],
    looked: bool,
) -> StatusReport {
    let nothing = Published::default();
    let latest = published.unwrap_or(&nothing);
    let expected: BTreeSet<Arc<str>> =
        if latest.nodes.is_empty() { token_nodes } else { &latest.nodes }.iter().cloned().collect();
    let names: BTreeSet<Arc<str>> =
        expected.iter().cloned().chain(agents.iter().map(|(node, _)| node.clone())).collect();
    let absent = Agent::default();
    let reports: Vec<AgentReport> =
        names.iter().map(|node| agent(node, agents.get(node).unwrap_or(&absent), latest)).collect();
    // An agent that nobody expects any more (its node is gone) keeps nobody waiting.
    let mut awaited =
        reports.iter().filter(|report| report.connected || expected.contains(report.node.as_str()));
    let all =
        awaited.all(|report| report.connected && report.types.values().all(|state| state.state == "SYNCED"));
    StatusReport {
        version: env!("CARGO_PKG_VERSION"),
        resource_version: latest.resource_version,
        generation: latest.sequence,
        synced: published.is_some() && looked && all && latest.moving == 0,
        moving: latest.moving,
        agents: reports,
        problems: latest.problems.clone(),
    }
}

fn agent(node: &Arc<str>, agent: &Agent, latest: &Published) -> AgentReport {
    let types = ResourceKind::ALL.map(|kind| {
        let progress = agent.progress(kind);
        let report = TypeReport {
            state: agent.state(kind, latest.sequence),
            sent: progress.sent,
            acked: progress.acked,
            error: progress.error.clone(),
            refused: progress.refused.iter().map(ToString::to_string).collect(),
        };
        (kind.name(), report)
    });
    let captured = latest.output.pods().filter(|pod| pod.node == *node && pod.captured);
    AgentReport {
        node: node.to_string(),
        version: agent.version.clone(),
        connected: agent.connected,
        types: types.into_iter().collect(),
        workloads: captured.count(),
        certificates: agent.certificates,
    }
}

/// Names and versions of everything that is published.
pub(super) fn index(published: &Published) -> Value {
    let shared =
        [ResourceKind::Mesh, ResourceKind::Authorization, ResourceKind::Traffic, ResourceKind::Address];
    let tables = shared.into_iter().filter_map(|kind| {
        let table = kind.table(&published.output, "")?;
        let entries: serde_json::Map<String, Value> = table
            .iter()
            .map(|(name, resource)| (name.to_string(), resource.version.to_string().into()))
            .collect();
        Some((kind.name().to_owned(), Value::Object(entries)))
    });
    let tables: serde_json::Map<String, Value> = tables.collect();
    let mut pods: Vec<_> = published.output.pods().collect();
    pods.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let pods: Vec<Value> = pods
        .into_iter()
        .map(|pod| {
            json!({"namespace": *pod.namespace, "name": *pod.name, "uid": *pod.uid, "node": *pod.node,
                "serviceAccount": *pod.service_account, "enrolled": pod.wanted, "captured": pod.captured})
        })
        .collect();
    json!({"generation": published.sequence, "resources": tables, "pods": pods})
}
