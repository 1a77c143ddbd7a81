//! New paths for requests, and for the places that redirects name.

use http::uri::PathAndQuery;

use super::matching::PathCondition;
use super::model::{PathRewrite, Rewrite};
use super::path::{CanonicalPath, assemble};
use super::pattern::Substitution;

/// A rewrite, parsed once.
#[derive(Clone, Debug)]
pub struct CompiledRewrite {
    pub(super) path: Option<NewPath>,
    /// The new authority.
    pub authority: Option<Box<str>>,
}

impl CompiledRewrite {
    pub(super) fn compile(from: &Rewrite) -> Result<Self, String> {
        let path = from.path.as_ref().map(NewPath::compile).transpose()?;
        Ok(Self { path, authority: from.authority.as_deref().map(Into::into) })
    }
}

/// How a path is made of the request's.
#[derive(Clone, Debug)]
pub(super) enum NewPath {
    /// What matched is replaced.
    Matched(Box<str>),
    /// All of it is.
    Full(Box<str>),
    /// The elements that matched are; without a trailing slash.
    Elements(Box<str>),
    /// Every match of an expression is.
    Regex(Box<Substitution>),
}

impl NewPath {
    pub(super) fn compile(from: &PathRewrite) -> Result<Self, String> {
        Ok(match from {
            PathRewrite::Matched(text) => Self::Matched(text.as_str().into()),
            PathRewrite::Full(text) => Self::Full(text.as_str().into()),
            PathRewrite::Elements(text) => Self::Elements(text.trim_end_matches('/').into()),
            PathRewrite::Regex { pattern, substitution } => {
                Self::Regex(Box::new(Substitution::parse(pattern, substitution)?))
            }
        })
    }

    /// The new path with the request's query. `matched` is the condition by which the rule was chosen.
    pub(super) fn apply(&self, request: &CanonicalPath, matched: &PathCondition) -> Option<PathAndQuery> {
        let path = request.path();
        let new = match self {
            // An empty one is none in Istio's API.
            Self::Matched(text) if text.is_empty() => return None,
            Self::Matched(text) => match matched {
                PathCondition::Prefix { text: prefix, .. } => join(text, path.get(prefix.len()..)),
                PathCondition::Elements { text: prefix, .. } => join(text, path.get(prefix.len()..)),
                // What matches everything is the prefix "/".
                PathCondition::Any => join(text, path.get(1..)),
                PathCondition::Exact { .. } | PathCondition::Regex(_) => text.to_string(),
            },
            Self::Full(text) => text.to_string(),
            Self::Elements(text) => {
                let prefix = match matched {
                    PathCondition::Elements { text, .. } | PathCondition::Exact { text, .. } => text.len(),
                    PathCondition::Prefix { text, .. } => text.trim_end_matches('/').len(),
                    PathCondition::Any | PathCondition::Regex(_) => 0,
                };
                join(text, path.get(prefix..))
            }
            Self::Regex(substitution) => substitution.apply(path),
        };
        assemble(&new, request.query())
    }
}

fn join(start: &str, rest: Option<&str>) -> String {
    let rest = rest.unwrap_or_default();
    if start.is_empty() && rest.is_empty() { "/".to_owned() } else { [start, rest].concat() }
}
