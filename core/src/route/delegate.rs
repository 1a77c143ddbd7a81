//! VirtualServices that hand over to others: the root's rule and each rule of the delegate become one, as Istio merges them.

use std::borrow::Cow;

use super::model::{
    Attach, HeaderChanges, HeaderMatch, HttpAction, HttpMatch, HttpRule, PathMatch, QueryMatch, RouteObject,
    TextMatch,
};
use super::tables::Problem;
use crate::object::ObjectRef;

/// A rule with nothing left to hand over.
#[derive(Debug)]
pub(super) struct FlatRule<'a> {
    pub(super) rule: Cow<'a, HttpRule>,
    /// The object that it stands in, and its place there.
    pub(super) source: &'a ObjectRef,
    pub(super) index: usize,
    /// Who handed over to it.
    pub(super) root: Option<&'a ObjectRef>,
}

/// The rules of an object; `find` finds VirtualServices by namespace and name.
pub(super) fn flatten<'a>(
    object: &'a RouteObject,
    find: impl Fn(&str, &str) -> Option<&'a RouteObject>,
    problems: &mut Vec<Problem>,
) -> Vec<FlatRule<'a>> {
    let mut flat = Vec::with_capacity(object.http.len());
    for (index, rule) in object.http.iter().enumerate() {
        let HttpAction::Delegate { namespace, name } = &rule.action else {
            flat.push(FlatRule { rule: Cow::Borrowed(rule), source: &object.source, index, root: None });
            continue;
        };
        match delegate(object, namespace, name, find(namespace, name)) {
            Ok(delegate) => merge_all(object, rule, delegate, &mut flat, problems),
            // Istio leaves the rule out and goes on.
            Err(message) => {
                problems.push(Problem { source: object.source.clone(), rule: Some(index), message });
            }
        }
    }
    flat
}

fn delegate<'a>(
    root: &RouteObject,
    namespace: &str,
    name: &str,
    found: Option<&'a RouteObject>,
) -> Result<&'a RouteObject, String> {
    let place = format!("VirtualService {namespace}/{name}");
    if root.source.namespace == namespace && root.source.name == name {
        return Err(format!("it delegates to itself, {place}; the rule is left out"));
    }
    let Some(found) = found else {
        return Err(format!("it delegates to {place}, which does not exist; the rule is left out"));
    };
    match &found.attach {
        Attach::Delegate { export_to } if export_to.reaches(&root.source.namespace) => Ok(found),
        Attach::Delegate { .. } => Err(format!(
            "it delegates to {place}, which is not exported to the namespace {}; the rule is left out",
            root.source.namespace
        )),
        _ => Err(format!(
            "it delegates to {place}, which has hosts and so cannot be delegated to; the rule is left out"
        )),
    }
}

fn merge_all<'a>(
    root: &'a RouteObject,
    rule: &HttpRule,
    delegate: &'a RouteObject,
    flat: &mut Vec<FlatRule<'a>>,
    problems: &mut Vec<Problem>,
) {
    for (index, sub) in delegate.http.iter().enumerate() {
        let problem = |message| Problem { source: delegate.source.clone(), rule: Some(index), message };
        if let HttpAction::Delegate { namespace, name } = &sub.action {
            problems.push(problem(format!(
                "it delegates on to VirtualService {namespace}/{name}: {} delegates to it already, and one step is all \
                 there is; the rule is left out",
                root.source
            )));
            continue;
        }
        match merge(rule, sub) {
            Some(merged) => flat.push(FlatRule {
                rule: Cow::Owned(merged),
                source: &delegate.source,
                index,
                root: Some(&root.source),
            }),
            None => problems.push(problem(format!(
                "one of its matches is no part of any match of the rule of {} that delegates to it; the rule is left out",
                root.source
            ))),
        }
    }
}

fn merge(root: &HttpRule, sub: &HttpRule) -> Option<HttpRule> {
    let mut merged = sub.clone();
    merged.matches = merge_matches(&root.matches, &sub.matches)?;
    merged.name = dashed(&root.name, &sub.name);
    merged.rewrite = merged.rewrite.or_else(|| root.rewrite.clone());
    merged.timeout = merged.timeout.or(root.timeout);
    merged.retries = merged.retries.or_else(|| root.retries.clone());
    merged.fault = merged.fault.or_else(|| root.fault.clone());
    merged.cors = merged.cors.or_else(|| root.cors.clone());
    merged.broken = merged.broken.or_else(|| root.broken.clone());
    if merged.mirrors.is_empty() {
        merged.mirrors.clone_from(&root.mirrors);
    }
    if merged.headers == HeaderChanges::default() {
        merged.headers.clone_from(&root.headers);
    }
    Some(merged)
}

fn dashed(root: &str, sub: &str) -> String {
    match (root, sub) {
        ("", name) | (name, "") => name.to_owned(),
        (root, sub) => format!("{root}-{sub}"),
    }
}

/// `None`: a match of the delegate that is within none of the root's.
fn merge_matches(root: &[HttpMatch], sub: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() || sub.is_empty() {
        return Some(if root.is_empty() { sub.to_vec() } else { root.to_vec() });
    }
    let mut merged = Vec::new();
    for sub in sub {
        let before = merged.len();
        merged.extend(root.iter().filter(|root| !conflict(root, sub)).map(|root| merge_match(root, sub)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn merge_match(root: &HttpMatch, sub: &HttpMatch) -> HttpMatch {
    let mut merged = sub.clone();
    merged.name = dashed(&root.name, &sub.name);
    merged.path = merged.path.or_else(|| root.path.clone());
    merged.scheme = merged.scheme.or_else(|| root.scheme.clone());
    merged.method = merged.method.or_else(|| root.method.clone());
    merged.authority = merged.authority.or_else(|| root.authority.clone());
    merged.port = merged.port.or(root.port);
    merged.source_namespace = merged.source_namespace.or_else(|| root.source_namespace.clone());
    merged.headers.extend(root.headers.iter().filter(|header| same_header(header, sub).is_none()).cloned());
    merged.query.extend(root.query.iter().filter(|query| same_query(query, sub).is_none()).cloned());
    for (key, value) in &root.source_labels {
        merged.source_labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    merged
}

fn same_header<'a>(header: &HeaderMatch, of: &'a HttpMatch) -> Option<&'a HeaderMatch> {
    of.headers.iter().find(|other| other.name == header.name && other.not == header.not)
}

fn same_query<'a>(query: &QueryMatch, of: &'a HttpMatch) -> Option<&'a QueryMatch> {
    of.query.iter().find(|other| other.name == query.name)
}

/// Whether a match of a delegate is not within one of its root: Istio's `hasConflict`.
fn conflict(root: &HttpMatch, sub: &HttpMatch) -> bool {
    let texts = [(&root.scheme, &sub.scheme), (&root.method, &sub.method), (&root.authority, &sub.authority)];
    let text = texts.iter().any(|pair| matches!(pair, (Some(root), Some(sub)) if text_conflict(root, sub)));
    let path = matches!((&root.path, &sub.path), (Some(root), Some(sub)) if path_conflict(root, sub));
    let header = sub.headers.iter().any(|header| {
        same_header(header, root).is_some_and(|root| text_conflict(&root.value, &header.value))
    });
    let query = sub
        .query
        .iter()
        .any(|query| same_query(query, root).is_some_and(|root| text_conflict(&root.value, &query.value)));
    let label = sub
        .source_labels
        .iter()
        .any(|(key, value)| root.source_labels.get(key).is_some_and(|other| other != value));
    text || path
        || header
        || query
        || label
        || root.ignore_case != sub.ignore_case
        || matches!((root.port, sub.port), (Some(root), Some(sub)) if root != sub)
        || (root.source_namespace.is_some() && root.source_namespace != sub.source_namespace)
}

fn text_conflict(root: &TextMatch, sub: &TextMatch) -> bool {
    match (root, sub) {
        (TextMatch::Exact(root), TextMatch::Exact(sub)) => root != sub,
        (TextMatch::Prefix(root), TextMatch::Prefix(sub) | TextMatch::Exact(sub)) => !sub.starts_with(root),
        _ => true,
    }
}

fn path_conflict(root: &PathMatch, sub: &PathMatch) -> bool {
    match (root, sub) {
        (PathMatch::Exact(root), PathMatch::Exact(sub)) => root != sub,
        (PathMatch::Prefix(root), PathMatch::Prefix(sub) | PathMatch::Exact(sub)) => !sub.starts_with(root),
        _ => true,
    }
}
