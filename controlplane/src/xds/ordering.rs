//! The order in which a running pod enters or leaves the mesh, so that no client tunnels to a pod that
//! is not captured, and no pod is let go while clients still tunnel to it.
//!
//! Meanwhile the pod is held: captured, addressed without a tunnel, and taking both. Entering ends when its
//! node has captured it; leaving ends when every agent has stopped to tunnel. Both end after a bounded time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agents::Agents;
use super::kind::ResourceKind;
use crate::index::Transition;

/// How long a pod is held at most.
pub const BOUND: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
struct Phase {
    /// `pod <namespace>/<name>:`, as agents name those that they fail at.
    named: String,
    node: Arc<str>,
    entering: bool,
    /// The publication that says that the pod is held.
    sequence: u64,
    deadline: Instant,
}

/// Pods on their way.
#[derive(Clone, Debug, Default)]
pub struct Ordering {
    phases: BTreeMap<Arc<str>, Phase>,
}

impl Ordering {
    /// A pod is held as of a publication.
    pub fn begin(&mut self, transition: Transition, sequence: u64, now: Instant) {
        let Transition { uid, pod, node, enrolled } = transition;
        let phase =
            Phase { named: format!("pod {pod}:"), node, entering: enrolled, sequence, deadline: now + BOUND };
        self.phases.insert(uid, phase);
    }

    /// Pods that need not be held any longer. `exists` says whether a pod is still there.
    pub fn finished(
        &mut self,
        agents: &Agents,
        now: Instant,
        exists: impl Fn(&str) -> bool,
    ) -> Vec<Arc<str>> {
        let done = |uid: &Arc<str>, phase: &Phase| {
            now >= phase.deadline
                || !exists(uid)
                || if phase.entering { captured(agents, uid, phase) } else { forgotten(agents, phase) }
        };
        let finished: Vec<Arc<str>> =
            self.phases.iter().filter(|(uid, phase)| done(uid, phase)).map(|(uid, _)| uid.clone()).collect();
        for uid in &finished {
            self.phases.remove(uid);
        }
        finished
    }

    /// When the first of them has been held for long enough.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.phases.values().map(|phase| phase.deadline).min()
    }

    /// How many are on their way.
    pub fn len(&self) -> usize {
        self.phases.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.phases.is_empty()
    }
}

/// The pod's node said that it has captured it.
fn captured(agents: &Agents, uid: &Arc<str>, phase: &Phase) -> bool {
    agents.get(&phase.node).filter(|agent| agent.connected).is_some_and(|agent| {
        let progress = agent.progress(ResourceKind::LocalWorkload);
        let failed = progress.failing && progress.error.contains(&phase.named);
        progress.settled >= phase.sequence && !failed && !progress.refused.contains(uid)
    })
}

/// Every agent that is connected has what says that there is no tunnel to the pod.
fn forgotten(agents: &Agents, phase: &Phase) -> bool {
    agents.iter().filter(|(_, agent)| agent.connected).all(|(_, agent)| {
        let progress = agent.progress(ResourceKind::Address);
        progress.subscribed && progress.settled >= phase.sequence
    })
}
