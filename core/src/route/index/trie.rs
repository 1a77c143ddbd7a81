//! Matches by path: one walk along the path meets every exact path and prefix that it has.

use super::super::matching::CompiledMatch;
use super::split::Node;
use super::{Place, Search};

/// How a text is to meet the path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Exact,
    Prefix,
    Elements,
}

/// A radix tree in one allocation; node 0 is the root.
#[derive(Clone, Debug)]
pub(super) struct Trie {
    nodes: Box<[Branch]>,
    fold: bool,
}

#[derive(Clone, Debug)]
struct Branch {
    /// Behind the parent's text.
    label: Box<[u8]>,
    /// By first byte of their labels, sorted.
    children: Box<[(u8, usize)]>,
    /// By [`Kind`].
    lists: [Option<Box<Node>>; 3],
}

#[derive(Debug, Default)]
pub(super) struct Builder {
    nodes: Vec<Draft>,
}

#[derive(Debug, Default)]
struct Draft {
    label: Vec<u8>,
    children: Vec<(u8, usize)>,
    lists: [Vec<Place>; 3],
}

impl Builder {
    pub(super) fn insert(&mut self, text: &str, kind: Kind, place: Place) {
        if self.nodes.is_empty() {
            self.nodes.push(Draft::default());
        }
        let (mut left, mut at) = (text.as_bytes(), 0);
        while let Some(first) = left.first().copied() {
            let Some(&(_, child)) = self.nodes[at].children.iter().find(|(byte, _)| *byte == first) else {
                self.add_child(at, Draft { label: left.to_vec(), ..Draft::default() });
                at = self.nodes.len() - 1;
                left = &[];
                continue;
            };
            let label = &self.nodes[child].label;
            let common = label.iter().zip(left).take_while(|(a, b)| a == b).count();
            if common < label.len() {
                self.cut(child, common);
            }
            at = child;
            left = &left[common..];
        }
        self.nodes[at].lists[kind as usize].push(place);
    }

    fn add_child(&mut self, parent: usize, child: Draft) {
        let index = self.nodes.len();
        let first = child.label[0];
        self.nodes.push(child);
        self.nodes[parent].children.push((first, index));
    }

    /// Cuts a node's label in two: what it was moves into a new child.
    fn cut(&mut self, node: usize, at: usize) {
        let tail = self.nodes[node].label.split_off(at);
        let whole = &mut self.nodes[node];
        let child = Draft {
            label: tail,
            children: std::mem::take(&mut whole.children),
            lists: std::mem::take(&mut whole.lists),
        };
        self.add_child(node, child);
    }

    pub(super) fn finish(self, matches: &[&CompiledMatch], fold: bool) -> Option<Trie> {
        let branch = |draft: Draft| {
            let mut children = draft.children;
            children.sort_unstable();
            let list =
                |places: Vec<Place>| (!places.is_empty()).then(|| Box::new(Node::build(places, matches)));
            Branch { label: draft.label.into(), children: children.into(), lists: draft.lists.map(list) }
        };
        (!self.nodes.is_empty()).then(|| Trie { nodes: self.nodes.into_iter().map(branch).collect(), fold })
    }
}

impl Trie {
    pub(super) fn find<F: Fn(Place) -> bool>(&self, path: &[u8], search: &mut Search<'_, F>) {
        let (mut node, mut at) = (&self.nodes[0], 0);
        loop {
            let next = path.get(at).copied();
            let [exact, prefix, elements] = &node.lists;
            prefix.iter().for_each(|list| list.find(search));
            if matches!(next, None | Some(b'/')) {
                elements.iter().for_each(|list| list.find(search));
            }
            let Some(byte) = next else {
                return exact.iter().for_each(|list| list.find(search));
            };
            let byte = self.folded(byte);
            let Ok(child) = node.children.binary_search_by_key(&byte, |(first, _)| *first) else { return };
            node = &self.nodes[node.children[child].1];
            let Some(got) = path.get(at..at + node.label.len()) else { return };
            let same = if self.fold { got.eq_ignore_ascii_case(&node.label) } else { *got == *node.label };
            if !same {
                return;
            }
            at += node.label.len();
        }
    }

    fn folded(&self, byte: u8) -> u8 {
        if self.fold { byte.to_ascii_lowercase() } else { byte }
    }
}
