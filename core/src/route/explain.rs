//! Why a request was decided as it was: every match that was a candidate, and what it wanted that the request has not.

use std::fmt;
use std::sync::Arc;

use super::host::VirtualHost;
use super::matching::{Ask, CompiledMatch, Condition, PathCondition};
use super::order::Entry;
use super::request::{Client, RequestHead};
use super::rule::CompiledRule;

/// All candidates in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The candidates.
    pub candidates: Vec<Candidate>,
    /// The one that decided.
    pub chosen: Option<usize>,
    /// Of those that were asked before it, or of all where none decided: the one that came nearest.
    pub nearest: Option<usize>,
}

/// One match of one rule.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The rule.
    pub rule: Arc<CompiledRule>,
    /// Which of its matches.
    pub by: usize,
    /// What did not hold; empty: it matches.
    pub misses: Vec<Miss>,
}

/// A condition that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// `path`, `header x-user`, `query q`, `sourceLabels` …
    pub field: String,
    /// `prefix "/api"`.
    pub wanted: String,
    /// What the request has; `None`: nothing.
    pub got: Option<String>,
}

impl VirtualHost {
    /// The decision of [`VirtualHost::decide`], and why.
    pub fn explain(&self, client: &Client<'_>, head: &RequestHead<'_>) -> Trace {
        let ask = Ask { client, head };
        let candidate = |entry: &Entry| Candidate {
            rule: Arc::clone(&entry.rule),
            by: entry.by,
            misses: entry.each().misses(&ask),
        };
        let candidates: Vec<_> = self.entries(head.port).iter().map(candidate).collect();
        let chosen = candidates.iter().position(|candidate| candidate.misses.is_empty());
        let asked = &candidates[..chosen.unwrap_or(candidates.len())];
        let distance = |candidate: &Candidate| {
            let path = candidate.misses.iter().find(|miss| miss.field == "path");
            let common =
                path.map_or(0, |_| candidate.rule.matches[candidate.by].path.shared(head.path.path()));
            (candidate.misses.len(), path.is_some(), std::cmp::Reverse(common))
        };
        let nearest = asked.iter().enumerate().min_by_key(|(_, candidate)| distance(candidate));
        Trace { nearest: nearest.map(|(index, _)| index), chosen, candidates }
    }
}

impl PathCondition {
    /// How many bytes a path has in common with it.
    fn shared(&self, path: &str) -> usize {
        let text = match self {
            Self::Any => "",
            Self::Exact { text, .. } | Self::Prefix { text, .. } | Self::Elements { text, .. } => text,
            Self::Regex(pattern) => pattern.text(),
        };
        text.bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count()
    }

    fn wanted(&self) -> String {
        match self {
            Self::Any => "anything".to_owned(),
            Self::Exact { text, fold } => format!("exact {text:?}{}", case(*fold)),
            Self::Prefix { text, fold } => format!("prefix {text:?}{}", case(*fold)),
            Self::Elements { text, fold } => {
                format!("path prefix {:?}{}", if text.is_empty() { "/" } else { text }, case(*fold))
            }
            Self::Regex(pattern) => format!("regex {:?}", pattern.text()),
        }
    }
}

fn case(fold: bool) -> &'static str {
    if fold { " in any case" } else { "" }
}

impl CompiledMatch {
    fn misses(&self, ask: &Ask<'_>) -> Vec<Miss> {
        let path = ask.head.path.path();
        let mut misses = Vec::new();
        if let Some(why) = &self.broken {
            misses.push(Miss { field: "match".to_owned(), wanted: format!("nothing: {why}"), got: None });
        }
        if !self.path.matches(path) {
            misses.push(Miss {
                field: "path".to_owned(),
                wanted: self.path.wanted(),
                got: Some(path.to_owned()),
            });
        }
        let failed = self.conditions.iter().filter(|condition| !condition.holds(ask));
        misses.extend(failed.map(|condition| condition.miss(ask)));
        misses
    }
}

impl fmt::Display for CompiledMatch {
    /// `path prefix "/api", header x-user exact "a"`; `anything` where it has no condition.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.broken {
            return write!(f, "nothing: {why}");
        }
        let path = (!matches!(self.path, PathCondition::Any)).then(|| format!("path {}", self.path.wanted()));
        let others = self.conditions.iter().map(|condition| {
            let (field, wanted) = condition.said();
            format!("{field} {wanted}")
        });
        let all: Vec<String> = path.into_iter().chain(others).collect();
        f.write_str(if all.is_empty() { "anything" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

impl Condition {
    /// What it looks at, and what it wants there.
    fn said(&self) -> (String, String) {
        match self {
            Self::Port(port) => ("port".to_owned(), port.to_string()),
            Self::Namespace(namespace) => ("sourceNamespace".to_owned(), namespace.to_string()),
            Self::Labels(want) => ("sourceLabels".to_owned(), pairs(want)),
            Self::Scheme(want) => ("scheme".to_owned(), want.to_string()),
            Self::Method(want) => ("method".to_owned(), want.to_string()),
            Self::Authority(want) => ("authority".to_owned(), want.to_string()),
            Self::Header { name, value, not } => {
                (format!("header {name}"), format!("{}{value}", if *not { "not " } else { "" }))
            }
            Self::Query { name, value } => (format!("query {name}"), value.to_string()),
        }
    }

    fn miss(&self, ask: &Ask<'_>) -> Miss {
        let (head, client) = (ask.head, ask.client);
        let got = match self {
            Self::Port(_) => Some(head.port.to_string()),
            Self::Namespace(_) => Some(client.namespace.to_owned()),
            Self::Labels(_) => Some(pairs(client.labels)),
            Self::Scheme(_) => Some(head.scheme.to_owned()),
            Self::Method(_) => Some(head.method.to_string()),
            Self::Authority(_) => Some(head.authority.to_owned()),
            Self::Header { name, .. } => name.get(head).map(|got| String::from_utf8_lossy(&got).into_owned()),
            Self::Query { name, .. } => {
                super::matching::parameter(head.path.query(), name).map(str::to_owned)
            }
        };
        let (field, wanted) = self.said();
        Miss { field, wanted, got }
    }
}

fn pairs(labels: &crate::object::Labels) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
