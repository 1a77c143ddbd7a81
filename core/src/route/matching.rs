//! The conditions of one match, ready for use.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::model::{HeaderMatch, HttpMatch, PathMatch, TextMatch};
use super::pattern::{Pattern, Text};
use super::request::{Client, RequestHead};
use crate::object::Labels;

/// A request and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) head: &'a RequestHead<'a>,
}

/// One match of a rule; all of it must hold.
#[derive(Clone, Debug)]
pub struct CompiledMatch {
    /// As written; empty where it has none.
    pub name: Box<str>,
    /// Of rule and match: what the access log shows.
    pub route_name: Arc<str>,
    /// On the path.
    pub path: PathCondition,
    /// All others.
    pub conditions: Box<[Condition]>,
    /// It cannot be understood and never matches; this says why.
    pub broken: Option<Box<str>>,
}

/// A condition on the canonical path, without its query.
#[derive(Clone, Debug)]
pub enum PathCondition {
    /// None.
    Any,
    /// The whole path; `fold`: whatever the case.
    Exact {
        /// The path.
        text: Box<str>,
        /// Whatever the case.
        fold: bool,
    },
    /// The first bytes.
    Prefix {
        /// The bytes.
        text: Box<str>,
        /// Whatever the case.
        fold: bool,
    },
    /// Whole elements; without the trailing slash.
    Elements {
        /// The elements.
        text: Box<str>,
        /// Whatever the case.
        fold: bool,
    },
    /// The whole path.
    Regex(Pattern),
}

/// Any other condition.
#[derive(Clone, Debug)]
pub enum Condition {
    /// The port that the client dialled.
    Port(u16),
    /// Namespace of the client.
    Namespace(Box<str>),
    /// Labels that the client has.
    Labels(Labels),
    /// The scheme.
    Scheme(Text),
    /// The method.
    Method(Text),
    /// The authority.
    Authority(Text),
    /// A header.
    Header {
        /// Which.
        name: HeaderKey,
        /// What it must be.
        value: Text,
        /// Or must not be.
        not: bool,
    },
    /// A query parameter.
    Query {
        /// Which.
        name: Box<str>,
        /// What it must be.
        value: Text,
    },
}

/// A header, or a part of the request that Envoy shows as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderKey {
    /// A header.
    Name(HeaderName),
    /// `:authority` or `host`.
    Authority,
    /// `:method`.
    Method,
    /// `:path`, with the query.
    Path,
    /// `:scheme`.
    Scheme,
}

impl CompiledMatch {
    /// What cannot be compiled makes a match that never matches.
    pub fn compile(from: &HttpMatch, rule: &Arc<str>) -> Self {
        let mut errors = Vec::new();
        let path = PathCondition::compile(from, &mut errors);
        let conditions = conditions(from, &mut errors);
        let broken = (!errors.is_empty()).then(|| errors.join("; ").into());
        let route_name = match from.name.as_str() {
            "" => Arc::clone(rule),
            name => format!("{rule}.{name}").into(),
        };
        Self { name: from.name.as_str().into(), route_name, path, conditions, broken }
    }

    pub(super) fn matches(&self, ask: &Ask<'_>) -> bool {
        self.broken.is_none()
            && self.path.matches(ask.head.path.path())
            && self.conditions.iter().all(|condition| condition.holds(ask))
    }

    /// Whether it can match requests of this client on this port at all.
    pub(super) fn concerns(&self, client: &Client<'_>, port: u16) -> bool {
        self.conditions.iter().all(|condition| condition.concerns(client, port))
    }

    /// Whether it asks who the client is or which port it dialled.
    pub(super) fn is_gated(&self) -> bool {
        let gate = |condition: &Condition| {
            matches!(condition, Condition::Port(_) | Condition::Namespace(_) | Condition::Labels(_))
        };
        self.conditions.iter().any(gate)
    }

    /// Whether it matches every request.
    pub(super) fn is_catch_all(&self) -> bool {
        let any = match &self.path {
            PathCondition::Any => true,
            PathCondition::Prefix { text, .. } => matches!(&**text, "/" | ""),
            PathCondition::Elements { text, .. } => text.is_empty(),
            PathCondition::Regex(pattern) => matches!(pattern.text(), ".*" | "/.*"),
            PathCondition::Exact { .. } => false,
        };
        any && self.conditions.is_empty() && self.broken.is_none()
    }
}

impl PathCondition {
    fn compile(from: &HttpMatch, errors: &mut Vec<String>) -> Self {
        let fold = from.ignore_case;
        match &from.path {
            None => Self::Any,
            Some(PathMatch::Exact(text)) => Self::Exact { text: text.as_str().into(), fold },
            Some(PathMatch::Prefix(text)) => Self::Prefix { text: text.as_str().into(), fold },
            Some(PathMatch::Elements(text)) => {
                Self::Elements { text: text.trim_end_matches('/').into(), fold }
            }
            Some(PathMatch::Regex(text)) => match Pattern::parse(text) {
                Ok(pattern) => Self::Regex(pattern),
                Err(error) => {
                    errors.push(error);
                    Self::Any
                }
            },
        }
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let path = path.as_bytes();
        match self {
            Self::Any => true,
            Self::Exact { text, fold } => equal(path, text.as_bytes(), *fold),
            Self::Prefix { text, fold } => starts(path, text.as_bytes(), *fold),
            Self::Elements { text, fold } => {
                starts(path, text.as_bytes(), *fold) && matches!(path.get(text.len()), None | Some(b'/'))
            }
            Self::Regex(pattern) => pattern.matches(path),
        }
    }
}

fn equal(path: &[u8], text: &[u8], fold: bool) -> bool {
    if fold { path.eq_ignore_ascii_case(text) } else { path == text }
}

fn starts(path: &[u8], text: &[u8], fold: bool) -> bool {
    path.get(..text.len()).is_some_and(|start| equal(start, text, fold))
}

fn conditions(from: &HttpMatch, errors: &mut Vec<String>) -> Box<[Condition]> {
    let mut all = Vec::new();
    all.extend(from.port.map(Condition::Port));
    all.extend(from.source_namespace.as_deref().map(|namespace| Condition::Namespace(namespace.into())));
    if !from.source_labels.is_empty() {
        all.push(Condition::Labels(from.source_labels.clone()));
    }
    let mut text = |want: &TextMatch| Text::compile(want).map_err(|error| errors.push(error)).ok();
    all.extend(from.method.as_ref().and_then(&mut text).map(Condition::Method));
    all.extend(from.scheme.as_ref().and_then(&mut text).map(Condition::Scheme));
    all.extend(from.authority.as_ref().and_then(&mut text).map(Condition::Authority));
    for query in &from.query {
        let value = text(&query.value);
        all.extend(value.map(|value| Condition::Query { name: query.name.as_str().into(), value }));
    }
    for header in &from.headers {
        match header_condition(header) {
            Ok(condition) => all.push(condition),
            Err(error) => errors.push(error),
        }
    }
    all.into()
}

fn header_condition(header: &HeaderMatch) -> Result<Condition, String> {
    let name = HeaderKey::parse(&header.name)?;
    Ok(Condition::Header { name, value: Text::compile(&header.value)?, not: header.not })
}

impl Condition {
    fn concerns(&self, client: &Client<'_>, port: u16) -> bool {
        match self {
            Self::Port(want) => *want == port,
            Self::Namespace(want) => **want == *client.namespace,
            Self::Labels(want) => want.iter().all(|(key, value)| client.labels.get(key) == Some(value)),
            _ => true,
        }
    }

    pub(super) fn holds(&self, ask: &Ask<'_>) -> bool {
        match self {
            Self::Port(_) | Self::Namespace(_) | Self::Labels(_) => self.concerns(ask.client, ask.head.port),
            Self::Scheme(want) => want.matches(ask.head.scheme.as_bytes()),
            Self::Method(want) => want.matches(ask.head.method.as_str().as_bytes()),
            Self::Authority(want) => want.matches(ask.head.authority.as_bytes()),
            Self::Query { name, value } => {
                parameter(ask.head.path.query(), name).is_some_and(|got| value.matches(got.as_bytes()))
            }
            Self::Header { name, value, not } => match name.get(ask.head) {
                Some(got) => value.matches(&got) != *not,
                // Envoy takes an absent header for an empty one where a value must not be.
                None => *not && (matches!(value, Text::Present) || !value.matches(b"")),
            },
        }
    }
}

impl HeaderKey {
    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name.to_ascii_lowercase().as_str() {
            ":authority" | "host" => Self::Authority,
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":scheme" => Self::Scheme,
            name => {
                let parsed = HeaderName::from_bytes(name.as_bytes());
                Self::Name(parsed.map_err(|_invalid| format!("{name:?} cannot be the name of a header"))?)
            }
        })
    }

    /// Its value in a request; several are joined by commas, as Envoy does.
    pub(super) fn get<'a>(&self, head: &RequestHead<'a>) -> Option<Cow<'a, [u8]>> {
        let text = match self {
            Self::Name(name) => return joined(head.headers, name),
            Self::Authority => head.authority,
            Self::Method => head.method.as_str(),
            Self::Path => head.path.path_and_query().as_str(),
            Self::Scheme => head.scheme,
        };
        Some(Cow::Borrowed(text.as_bytes()))
    }
}

/// The values of a header, joined by commas.
pub(super) fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut values = headers.get_all(name).iter();
    let mut joined = Cow::Borrowed(values.next()?.as_bytes());
    for value in values {
        let text = joined.to_mut();
        text.push(b',');
        text.extend_from_slice(value.as_bytes());
    }
    Some(joined)
}

/// The first value of a query parameter, as written; empty where it has no `=`.
pub(super) fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    parameters(query).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The parameters of a query, in order.
pub(super) fn parameters(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

impl fmt::Display for HeaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name(name) => name.as_str(),
            Self::Authority => ":authority",
            Self::Method => ":method",
            Self::Path => ":path",
            Self::Scheme => ":scheme",
        })
    }
}
