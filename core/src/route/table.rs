//! The rules of one host on one port, in order and indexed.

use std::sync::Arc;

use super::decision::{Decision, Matched};
use super::index::Index;
use super::matching::{Ask, CompiledMatch};
use super::object::CompiledObject;
use super::order::Entry;
use super::request::{Client, RequestHead};
use super::rule::CompiledRule;

/// Matches in the order in which they count, and the way to the first one.
#[derive(Debug)]
pub(super) struct RuleTable {
    entries: Box<[Entry]>,
    index: Index,
    /// Every match asks who the client is or which port it dialled: there may be nobody for whom the table says anything.
    gated: bool,
    /// What it was made of: they live as long as it, so that their addresses name it.
    _objects: Box<[Arc<CompiledObject>]>,
}

impl RuleTable {
    /// `None`: there is nothing in it.
    pub(super) fn build(entries: Vec<Entry>, objects: &[Arc<CompiledObject>]) -> Option<Self> {
        if entries.is_empty() {
            return None;
        }
        let matches: Vec<&CompiledMatch> = entries.iter().map(Entry::each).collect();
        let index = Index::build(&matches);
        let gated = matches.iter().all(|each| each.is_gated());
        Some(Self { index, gated, entries: entries.into(), _objects: objects.into() })
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn decide<'a>(&'a self, client: &Client<'_>, head: &RequestHead<'_>) -> Decision<'a> {
        let ask = Ask { client, head };
        let holds = |place: u32| self.entries[place as usize].each().matches(&ask);
        match self.index.first(&ask, holds).and_then(|place| self.entries.get(place as usize)) {
            Some(Entry { rule, by }) => Decision::Rule(Matched { rule, by: *by }),
            None if self.concerns(client, head.port) => Decision::NotFound,
            None => Decision::Default,
        }
    }

    /// Whether any rule can speak for this client on this port. Istio gives proxies only the rules that can, and where none is
    /// left the host is as if it had none.
    pub(super) fn concerns(&self, client: &Client<'_>, port: u16) -> bool {
        !self.gated || self.entries.iter().any(|entry| entry.each().concerns(client, port))
    }

    /// Each rule once, in the order of its first match.
    pub(super) fn rules(&self) -> impl Iterator<Item = &Arc<CompiledRule>> {
        let mut seen = std::collections::HashSet::new();
        self.entries.iter().map(|entry| &entry.rule).filter(move |rule| seen.insert(Arc::as_ptr(rule)))
    }
}
