//! Changes of headers, parsed once.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::model::HeaderChange;

/// Changes of one set of headers: removed first, then set, then added, in the order of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderOps {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
    authority: Option<Box<str>>,
}

impl HeaderOps {
    /// What cannot be a header is left out, and named in `problems`. What stands for the request line (`:path`) and the
    /// authority cannot be removed or added, as in Envoy.
    pub fn compile(change: &HeaderChange, problems: &mut Vec<String>) -> Self {
        let authority = |pairs: &[(String, String)]| {
            pairs.iter().rev().find(|(name, _)| is_authority(name)).map(|(_, value)| value.as_str().into())
        };
        Self {
            remove: change.remove.iter().filter_map(|name| header_name(name, problems)).collect(),
            set: pairs(&change.set, problems),
            add: pairs(&change.add, problems),
            authority: authority(&change.set).or_else(|| authority(&change.add)),
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty() && self.authority.is_none()
    }

    /// Changes the headers. The authority is not among them: see [`Self::authority`].
    pub fn apply(&self, headers: &mut HeaderMap) {
        Self::apply_all(&[self], headers);
    }

    /// Several, as one: everything is removed first.
    pub(super) fn apply_all(all: &[&Self], headers: &mut HeaderMap) {
        for name in all.iter().flat_map(|ops| &ops.remove) {
            headers.remove(name);
        }
        for ops in all {
            for (name, value) in &ops.set {
                headers.insert(name, value.clone());
            }
            for (name, value) in &ops.add {
                headers.append(name, value.clone());
            }
        }
    }

    /// The authority that `host` or `:authority` asks for.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

fn pairs(from: &[(String, String)], problems: &mut Vec<String>) -> Box<[(HeaderName, HeaderValue)]> {
    let mut pairs = Vec::with_capacity(from.len());
    for (name, value) in from {
        let Some(name) = header_name(name, problems) else { continue };
        match HeaderValue::from_str(value) {
            Ok(value) => pairs.push((name, value)),
            Err(_) => problems.push(format!("{value:?} cannot be the value of the header {name}")),
        }
    }
    pairs.into()
}

fn header_name(name: &str, problems: &mut Vec<String>) -> Option<HeaderName> {
    if name.starts_with(':') || is_authority(name) {
        return None;
    }
    let parsed = HeaderName::from_bytes(name.as_bytes());
    if parsed.is_err() {
        problems.push(format!("{name:?} cannot be the name of a header"));
    }
    parsed.ok()
}
