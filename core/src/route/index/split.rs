//! Matches by what they want exactly beside the path: method, authority, headers, query, port, namespace.

use std::collections::HashMap;
use std::hash::Hash;

use http::HeaderName;

use super::super::matching::{CompiledMatch, Condition, HeaderKey, joined, parameters};
use super::super::pattern::Text;
use super::{Place, Search};

/// So many are asked in order without more ado.
const FEW: usize = 8;
/// So many names of headers are looked up one by one; of more, the request's headers are gone through.
const NAMES: usize = 4;

/// Matches of one path.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Asked in order.
    Scan(Box<[Place]>),
    /// Spread over a table.
    Split(Box<Split>),
}

#[derive(Clone, Debug)]
pub(super) struct Split {
    lowest: Place,
    table: Table,
    /// Those that do not want it exactly.
    rest: Node,
}

/// What a table is asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aspect {
    Headers,
    Query,
    Authority,
    Method,
    Namespace,
    Port,
}

type Places = HashMap<Box<[u8]>, Vec<Place>>;
type Named<N> = HashMap<N, HashMap<Box<[u8]>, Node>>;

#[derive(Clone, Debug)]
enum Table {
    Headers(Named<HeaderName>),
    Query(Named<Box<[u8]>>),
    Authority(HashMap<Box<[u8]>, Node>),
    Method(HashMap<Box<[u8]>, Node>),
    Namespace(HashMap<Box<[u8]>, Node>),
    Port(HashMap<u16, Node>),
}

impl Default for Node {
    fn default() -> Self {
        Self::Scan(Box::default())
    }
}

impl Node {
    /// Spreads places, which are sorted, by whatever tells most of them apart.
    pub(super) fn build(places: Vec<Place>, matches: &[&CompiledMatch]) -> Self {
        use Aspect::{Authority, Headers, Method, Namespace, Port, Query};
        Self::spread(places, matches, &[Headers, Query, Authority, Method, Namespace, Port])
    }

    fn spread(places: Vec<Place>, matches: &[&CompiledMatch], aspects: &[Aspect]) -> Self {
        if places.len() <= FEW {
            return Self::Scan(places.into());
        }
        let having = |aspect: Aspect| {
            places.iter().filter(|place| !keys(matches[**place as usize], aspect).is_empty()).count()
        };
        let best =
            aspects.iter().copied().map(|aspect| (having(aspect), aspect)).max_by_key(|(count, _)| *count);
        let Some((count, aspect)) = best else { return Self::Scan(places.into()) };
        if count < FEW / 2 {
            return Self::Scan(places.into());
        }
        let left: Vec<Aspect> = aspects.iter().copied().filter(|other| *other != aspect).collect();
        let lowest = places[0];
        let (having, rest) = partition(places, matches, aspect);
        let table = Table::build(having, matches, aspect, &left);
        Self::Split(Box::new(Split { lowest, table, rest: Self::spread(rest, matches, &left) }))
    }

    pub(super) fn find<F: Fn(Place) -> bool>(&self, search: &mut Search<'_, F>) {
        match self {
            Self::Scan(places) => {
                let better = places.iter().copied().take_while(|place| *place < search.best);
                if let Some(found) = better.into_iter().find(|place| (search.holds)(*place)) {
                    search.best = found;
                }
            }
            Self::Split(split) if split.lowest < search.best => {
                split.table.find(search);
                split.rest.find(search);
            }
            Self::Split(_) => (),
        }
    }
}

/// A name (empty where the aspect has none) and a value.
type Key = (Box<[u8]>, Box<[u8]>);

/// All that a match wants exactly under an aspect.
fn keys(each: &CompiledMatch, aspect: Aspect) -> Vec<Key> {
    let bytes = |text: &str| Box::<[u8]>::from(text.as_bytes());
    let key = |condition: &Condition| match (aspect, condition) {
        (
            Aspect::Headers,
            Condition::Header { name: HeaderKey::Name(name), value: Text::Exact(value), not: false },
        ) => Some((bytes(name.as_str()), bytes(value))),
        (Aspect::Query, Condition::Query { name, value: Text::Exact(value) }) => {
            Some((bytes(name), bytes(value)))
        }
        (Aspect::Authority, Condition::Authority(Text::Exact(value)))
        | (
            Aspect::Authority,
            Condition::Header { name: HeaderKey::Authority, value: Text::Exact(value), not: false },
        )
        | (Aspect::Method, Condition::Method(Text::Exact(value))) => Some((Box::default(), bytes(value))),
        (Aspect::Namespace, Condition::Namespace(value)) => Some((Box::default(), bytes(value))),
        (Aspect::Port, Condition::Port(port)) => Some((Box::default(), port.to_be_bytes().into())),
        _ => None,
    };
    each.conditions.iter().filter_map(key).collect()
}

/// Those with a key, under the rarest of their keys; and those without.
fn partition(
    places: Vec<Place>,
    matches: &[&CompiledMatch],
    aspect: Aspect,
) -> (Vec<(Key, Place)>, Vec<Place>) {
    let mut counts: HashMap<Key, usize> = HashMap::new();
    for place in &places {
        for key in keys(matches[*place as usize], aspect) {
            *counts.entry(key).or_default() += 1;
        }
    }
    let (mut having, mut rest) = (Vec::new(), Vec::new());
    for place in places {
        let rarest =
            keys(matches[place as usize], aspect).into_iter().min_by_key(|key| counts.get(key).copied());
        match rarest {
            Some(key) => having.push((key, place)),
            None => rest.push(place),
        }
    }
    (having, rest)
}

impl Table {
    fn build(having: Vec<(Key, Place)>, matches: &[&CompiledMatch], aspect: Aspect, left: &[Aspect]) -> Self {
        let mut names: HashMap<Box<[u8]>, Places> = HashMap::new();
        for ((name, value), place) in having {
            names.entry(name).or_default().entry(value).or_default().push(place);
        }
        let node = |places: Vec<Place>| Node::spread(places, matches, left);
        let values = |values: Places| -> HashMap<Box<[u8]>, Node> {
            values.into_iter().map(|(value, places)| (value, node(places))).collect()
        };
        let mut only = || names.remove(&[] as &[u8]).map(&values).unwrap_or_default();
        match aspect {
            Aspect::Authority => Self::Authority(only()),
            Aspect::Method => Self::Method(only()),
            Aspect::Namespace => Self::Namespace(only()),
            Aspect::Port => {
                Self::Port(only().into_iter().filter_map(|(port, node)| Some((be(&port)?, node))).collect())
            }
            Aspect::Query => Self::Query(names.into_iter().map(|(name, of)| (name, values(of))).collect()),
            Aspect::Headers => {
                let parsed = |name: Box<[u8]>| HeaderName::from_bytes(&name).ok();
                let named = names.into_iter().filter_map(|(name, of)| Some((parsed(name)?, values(of))));
                Self::Headers(named.collect())
            }
        }
    }

    fn find<F: Fn(Place) -> bool>(&self, search: &mut Search<'_, F>) {
        let (head, client) = (search.ask.head, search.ask.client);
        match self {
            Self::Authority(table) => probe(table, head.authority.as_bytes(), search),
            Self::Method(table) => probe(table, head.method.as_str().as_bytes(), search),
            Self::Namespace(table) => probe(table, client.namespace.as_bytes(), search),
            Self::Port(table) => table.get(&head.port).into_iter().for_each(|node| node.find(search)),
            Self::Query(names) => {
                for (name, value) in parameters(head.path.query()) {
                    if let Some(values) = names.get(name.as_bytes()) {
                        probe(values, value.as_bytes(), search);
                    }
                }
            }
            Self::Headers(names) if names.len() <= NAMES => {
                for (name, values) in names {
                    if let Some(value) = joined(head.headers, name) {
                        probe(values, &value, search);
                    }
                }
            }
            Self::Headers(names) => {
                for name in head.headers.keys() {
                    if let Some(values) = names.get(name)
                        && let Some(value) = joined(head.headers, name)
                    {
                        probe(values, &value, search);
                    }
                }
            }
        }
    }
}

fn probe<K, F>(table: &HashMap<Box<[K]>, Node>, key: &[K], search: &mut Search<'_, F>)
where
    K: Hash + Eq,
    F: Fn(Place) -> bool,
{
    if let Some(node) = table.get(key) {
        node.find(search);
    }
}

fn be(port: &[u8]) -> Option<u16> {
    port.try_into().map(u16::from_be_bytes).ok()
}
