//! How far every agent is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kind::ResourceKind;

/// What streams tell the engine.
#[derive(Clone, Debug)]
pub enum AgentEvent {
    /// An agent opened a stream.
    Connected {
        /// Its node.
        node: Arc<str>,
        /// Tells this stream from those before.
        stream: u64,
        /// Version of the agent.
        version: String,
    },
    /// An agent got further, or refused something.
    Progress {
        /// Its node.
        node: Arc<str>,
        /// Its stream.
        stream: u64,
        /// All types, in order.
        types: Box<[Progress; ResourceKind::ALL.len()]>,
    },
    /// A stream ended.
    Disconnected {
        /// Its node.
        node: Arc<str>,
        /// Its stream.
        stream: u64,
    },
    /// A certificate was made for a pod of a node.
    Certificate {
        /// The node.
        node: Arc<str>,
    },
}

/// How far an agent is with one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// It asked for the type.
    pub subscribed: bool,
    /// The publication whose resources it holds, but for those that it refused.
    pub settled: u64,
    /// A response waits for its answer.
    pub waiting: bool,
    /// Responses sent.
    pub sent: u64,
    /// Responses acknowledged.
    pub acked: u64,
    /// Names of what it refused and was not given a better version of.
    pub refused: Vec<Arc<str>>,
    /// It holds everything, and could not put all of it into force.
    pub failing: bool,
    /// What it said when it refused.
    pub error: String,
}

/// One agent.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    /// Its stream; 0 before the first.
    pub stream: u64,
    /// It has a stream now.
    pub connected: bool,
    /// Its version.
    pub version: String,
    /// All types, in order.
    pub types: [Progress; ResourceKind::ALL.len()],
    /// Certificates made for pods of its node.
    pub certificates: u64,
}

/// All agents ever seen, by node.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    by_node: BTreeMap<Arc<str>, Agent>,
}

impl Agents {
    /// Takes what a stream tells. Old streams of a node that has a newer one are not heard.
    pub fn apply(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Connected { node, stream, version } => {
                let agent = self.by_node.entry(node).or_default();
                if stream > agent.stream {
                    let certificates = agent.certificates;
                    *agent = Agent { stream, connected: true, version, certificates, ..Agent::default() };
                }
            }
            AgentEvent::Progress { node, stream, types } => {
                if let Some(agent) = self.by_node.get_mut(&node).filter(|agent| agent.stream == stream) {
                    agent.types = *types;
                }
            }
            AgentEvent::Disconnected { node, stream } => {
                if let Some(agent) = self.by_node.get_mut(&node).filter(|agent| agent.stream == stream) {
                    agent.connected = false;
                }
            }
            AgentEvent::Certificate { node } => self.by_node.entry(node).or_default().certificates += 1,
        }
    }

    /// By node.
    pub fn get(&self, node: &str) -> Option<&Agent> {
        self.by_node.get(node)
    }

    /// In order of node.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Agent)> {
        self.by_node.iter()
    }
}

impl Agent {
    /// How far it is with one type.
    pub fn progress(&self, kind: ResourceKind) -> &Progress {
        &self.types[kind as usize]
    }

    /// `SYNCED`, `STALE` or `NACK` as of a publication.
    pub fn state(&self, kind: ResourceKind, sequence: u64) -> &'static str {
        let progress = self.progress(kind);
        if progress.failing || !progress.refused.is_empty() {
            "NACK"
        } else if self.connected && progress.subscribed && !progress.waiting && progress.settled >= sequence {
            "SYNCED"
        } else {
            "STALE"
        }
    }
}
