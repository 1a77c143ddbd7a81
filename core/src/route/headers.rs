//! Changes of headers, parsed once.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::model::HeaderChange;

/// Changes of one set of headers: removed first, then set, then added, in the order of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderOps {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
    authority: Option<String>,
}

impl HeaderOps {
    /// What cannot be a header is left out, and named in `problems`.
    pub fn compile(change: &HeaderChange, problems: &mut Vec<String>) -> Self {
        let mut ops = Self::default();
        ops.set = pairs(&change.set, &mut ops.authority, problems);
        ops.add = pairs(&change.add, &mut None, problems);
        ops.remove = change.remove.iter().filter_map(|name| header_name(name, problems)).collect();
        ops
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty() && self.authority.is_none()
    }

    /// Changes the headers. `host` is not among them: see [`Self::authority`].
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }

    /// The authority that `set` of `host` or `:authority` asks for.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }
}

fn pairs(
    from: &[(String, String)],
    authority: &mut Option<String>,
    problems: &mut Vec<String>,
) -> Box<[(HeaderName, HeaderValue)]> {
    let mut pairs = Vec::with_capacity(from.len());
    for (name, value) in from {
        if name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority") {
            *authority = Some(value.clone());
            continue;
        }
        let Some(name) = header_name(name, problems) else { continue };
        match HeaderValue::from_str(value) {
            Ok(value) => pairs.push((name, value)),
            Err(_) => problems.push(format!("{value:?} cannot be the value of the header {name}")),
        }
    }
    pairs.into()
}

fn header_name(name: &str, problems: &mut Vec<String>) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes());
    if parsed.is_err() {
        problems.push(format!("{name:?} cannot be the name of a header"));
    }
    parsed.ok()
}
