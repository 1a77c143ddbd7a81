//! Finds the first match of a request among many at a cost that hardly depends on how many there are.
//!
//! Matches are spread over a trie by their paths and within it over tables by what else they want exactly; what is left
//! is asked in order. An index only leaves out what cannot match: each candidate is still asked in full.

mod split;
mod trie;

use super::matching::{Ask, CompiledMatch, PathCondition};
use split::Node;
use trie::{Kind, Trie};

/// The place of a match in the order in which they count.
pub(super) type Place = u32;

/// An index over matches.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// By path; the second one whatever the case.
    tries: [Option<Trie>; 2],
    /// Those whose path says nothing that an index could use.
    rest: Node,
}

impl Index {
    /// The matches in their order.
    pub(super) fn build(matches: &[&CompiledMatch]) -> Self {
        let mut builders = [trie::Builder::default(), trie::Builder::default()];
        let mut rest = Vec::new();
        for (place, each) in (0..).zip(matches) {
            if each.broken.is_some() {
                continue;
            }
            let (text, fold, kind) = match &each.path {
                PathCondition::Exact { text, fold } => (&**text, *fold, Kind::Exact),
                PathCondition::Prefix { text, fold } => (&**text, *fold, Kind::Prefix),
                PathCondition::Elements { text, fold } => (&**text, *fold, Kind::Elements),
                PathCondition::Regex(pattern) => (pattern.literal_prefix(), false, Kind::Prefix),
                PathCondition::Any => ("", false, Kind::Prefix),
            };
            match text {
                "" if matches!(kind, Kind::Prefix) => rest.push(place),
                text if fold => builders[1].insert(&text.to_ascii_lowercase(), kind, place),
                text => builders[0].insert(text, kind, place),
            }
        }
        let [exact, folded] = builders;
        Self {
            tries: [exact.finish(matches, false), folded.finish(matches, true)],
            rest: Node::build(rest, matches),
        }
    }

    /// The first place whose match `holds`; it is asked of few.
    pub(super) fn first(&self, ask: &Ask<'_>, holds: impl Fn(Place) -> bool) -> Option<Place> {
        let mut search = Search { ask, holds, best: Place::MAX };
        self.rest.find(&mut search);
        for trie in self.tries.iter().flatten() {
            trie.find(ask.head.path.path().as_bytes(), &mut search);
        }
        (search.best != Place::MAX).then_some(search.best)
    }
}

/// One search: what was found so far bounds what is still of interest.
struct Search<'a, F> {
    ask: &'a Ask<'a>,
    holds: F,
    best: Place,
}
