//! The owner of the index: takes batches of objects and news of agents, publishes what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::analysis::{Analyst, Findings};
use crate::ca::trust::{self, LatestTrust};
use crate::index::route::ParentVerdict;
use crate::index::{Index, Output};
use crate::metrics::Metrics;
use crate::published::Published;
use crate::registry::{Batch, Judged, ObjectId, Unread};
use crate::status::Told;
use crate::xds::agents::{AgentEvent, Agents};
use crate::xds::kind::ResourceKind;
use crate::xds::ordering::Ordering;

/// News of objects; `None`: the object is gone.
pub type Verdicts = Vec<(ObjectId, Option<Told>)>;

/// Where the engine reads from and writes to.
#[derive(Debug)]
pub struct Channels {
    /// From the registry.
    pub batches: mpsc::Receiver<Batch>,
    /// From streams.
    pub events: mpsc::Receiver<AgentEvent>,
    /// To everybody.
    pub published: watch::Sender<Option<Arc<Published>>>,
    /// To those who ask how far agents are.
    pub agents: watch::Sender<Arc<Agents>>,
    /// To the writer of status.
    pub verdicts: mpsc::Sender<Verdicts>,
    /// Looks at all objects together.
    pub analyst: Analyst,
    /// Whom agents are to trust.
    pub trust: LatestTrust,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    index: Index,
    ordering: Ordering,
    agents: Agents,
    sequence: u64,
    resource_version: u64,
    problems: Vec<Unread>,
    complete: bool,
    /// Not passed on yet.
    verdicts: Verdicts,
    /// Objects whose status is ours: what the registry says of them and, of routes, what their parents say.
    standing: BTreeMap<ObjectId, (Option<Judged>, Vec<ParentVerdict>)>,
    /// What was found across objects.
    analysis: Findings,
    fingerprint: u64,
    metrics: Arc<Metrics>,
}

impl Engine {
    /// An engine over an empty index.
    pub fn new(index: Index, metrics: Arc<Metrics>) -> Self {
        Self {
            index,
            ordering: Ordering::default(),
            agents: Agents::default(),
            sequence: 0,
            resource_version: 0,
            problems: Vec::new(),
            complete: false,
            verdicts: Vec::new(),
            standing: BTreeMap::new(),
            analysis: Findings::new(),
            fingerprint: 0,
            metrics,
        }
    }

    /// Runs until it is stopped, or the registry is gone.
    pub async fn run(mut self, mut channels: Channels, stop: CancellationToken) {
        channels.trust.mark_changed();
        loop {
            let deadline = self.ordering.next_deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                event = channels.events.recv() => match event {
                    Some(event) => self.hear(event, &mut channels),
                    None => return,
                },
                () = until(deadline) => {}
                () = trust::changed(&mut channels.trust) => self.trust(&channels),
                Some(findings) = channels.analyst.findings() => {
                    self.analysed(findings);
                    self.pass_on(&channels, false).await;
                }
                batch = channels.batches.recv() => match batch {
                    Some(batch) => self.take(batch, &channels).await,
                    None => return,
                },
            }
            self.advance(&channels);
        }
    }

    /// Applies a batch and publishes it before anybody is told that it is.
    async fn take(&mut self, batch: Batch, channels: &Channels) {
        let Batch { changes, verdicts, problems, resource_version, complete, published } = batch;
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!(object = problem.object, message = problem.message, "not taken");
        }
        let whole = complete && !self.complete;
        let news = !changes.is_empty()
            || problems != self.problems
            || resource_version > self.resource_version
            || whole;
        let begun = Instant::now();
        let count = changes.len();
        let moved = self.index.apply(changes);
        for transition in &moved {
            self.index.hold(&transition.uid, true);
        }
        if count > 0 {
            self.metrics.index_seconds.observe(begun.elapsed().as_secs_f64());
            tracing::debug!(changes = count, micros = begun.elapsed().as_micros(), "indexed");
        }
        self.problems = problems;
        self.resource_version = self.resource_version.max(resource_version);
        self.complete |= complete;
        let next = self.sequence + 1;
        if !moved.is_empty() {
            // What agents settle next must count as an answer to this, whatever it changes for them.
            self.fingerprint = u64::MAX;
        }
        for transition in moved {
            tracing::info!(pod = %transition.uid, node = %transition.node, enrolled = transition.enrolled, "pod moves");
            self.ordering.begin(transition, next, Instant::now());
        }
        if news {
            self.publish(channels);
        }
        self.judge(verdicts);
        self.pass_on(channels, whole).await;
        if news {
            channels.analyst.wake();
        }
        for told in published {
            let _ = told.send(());
        }
    }

    /// Joins what the registry says of objects with what the parents of routes say.
    fn judge(&mut self, verdicts: Vec<(ObjectId, Option<Judged>)>) {
        let mut touched = BTreeSet::new();
        for (id, judged) in verdicts {
            if id.is_of_mesh() {
                self.standing.entry(id.clone()).or_default().0 = judged;
                touched.insert(id);
            } else {
                let told = judged.map(|judged| Told { judged, parents: Vec::new(), analysis: Vec::new() });
                self.verdicts.push((id, told));
            }
        }
        for (key, parents) in self.index.take_verdicts() {
            let Some(id) = ObjectId::of_route(&key) else { continue };
            self.standing.entry(id.clone()).or_default().1 = parents;
            touched.insert(id);
        }
        self.tell(touched);
    }

    /// Takes what was found across objects.
    fn analysed(&mut self, findings: Findings) {
        let old = std::mem::replace(&mut self.analysis, findings);
        let both = old.keys().chain(self.analysis.keys()).cloned().collect::<BTreeSet<_>>();
        let changed = both.into_iter().filter(|id| old.get(id) != self.analysis.get(id));
        self.tell(changed.collect());
    }

    fn tell(&mut self, touched: BTreeSet<ObjectId>) {
        for id in touched {
            let told = match self.standing.get(&id) {
                Some((Some(judged), parents)) => Some(Told {
                    judged: judged.clone(),
                    parents: parents.clone(),
                    analysis: self.analysis.get(&id).cloned().unwrap_or_default(),
                }),
                _ => None,
            };
            if told.is_none() {
                self.standing.remove(&id);
            }
            self.verdicts.push((id, told));
        }
    }

    /// The first message to the writer of status is of everything.
    async fn pass_on(&mut self, channels: &Channels, whole: bool) {
        if self.complete && (whole || !self.verdicts.is_empty()) {
            let verdicts = std::mem::take(&mut self.verdicts);
            // A writer that is gone is no reason to stop serving.
            let _ = channels.verdicts.send(verdicts).await;
        }
    }

    fn trust(&mut self, channels: &Channels) {
        let Some(trust) = channels.trust.borrow().clone() else { return };
        self.index.trust(&trust.roots);
        self.publish(channels);
    }

    fn hear(&mut self, event: AgentEvent, channels: &mut Channels) {
        self.agents.apply(event);
        while let Ok(event) = channels.events.try_recv() {
            self.agents.apply(event);
        }
        channels.agents.send_replace(Arc::new(self.agents.clone()));
    }

    fn advance(&mut self, channels: &Channels) {
        let index = &self.index;
        let exists = |uid: &str| index.output().pod(uid).is_some_and(|pod| pod.alive());
        let finished = self.ordering.finished(&self.agents, Instant::now(), exists);
        if finished.is_empty() {
            return;
        }
        for uid in finished {
            self.index.hold(&uid, false);
        }
        self.publish(channels);
    }

    fn publish(&mut self, channels: &Channels) {
        let output = self.index.output().clone();
        let fingerprint = fingerprint(&output);
        if fingerprint != self.fingerprint || self.sequence == 0 {
            self.fingerprint = fingerprint;
            self.sequence += 1;
        }
        // Agents that are told to trust nobody would refuse it.
        if !self.complete || !self.index.has_roots() {
            return;
        }
        self.metrics.resources(&output);
        channels.published.send_replace(Some(Arc::new(Published {
            sequence: self.sequence,
            output,
            resource_version: self.resource_version,
            nodes: self.index.nodes().cloned().collect(),
            problems: self.problems.clone(),
            moving: self.ordering.len(),
        })));
    }
}

/// Tables count their changes, so the sum grows with each.
fn fingerprint(output: &Output) -> u64 {
    let shared =
        [ResourceKind::Mesh, ResourceKind::Authorization, ResourceKind::Traffic, ResourceKind::Address];
    let shared = shared.into_iter().filter_map(|kind| kind.table(output, ""));
    shared.chain(output.all_locals()).map(|table| table.changes()).sum()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
