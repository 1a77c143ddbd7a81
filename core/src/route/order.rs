//! In which order matches count: of VirtualServices as written, of the Gateway API the most specific first.

use std::cmp::Reverse;
use std::sync::Arc;

use super::matching::{CompiledMatch, Condition, PathCondition};
use super::object::CompiledObject;
use super::rule::CompiledRule;

/// One match of one rule.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) rule: Arc<CompiledRule>,
    pub(super) by: usize,
}

impl Entry {
    pub(super) fn each(&self) -> &CompiledMatch {
        &self.rule.matches[self.by]
    }
}

fn entries(object: &CompiledObject) -> impl Iterator<Item = Entry> {
    object
        .rules
        .iter()
        .flat_map(|rule| (0..rule.matches.len()).map(|by| Entry { rule: Arc::clone(rule), by }))
}

/// VirtualServices on one host, the oldest first: one after the other. What matches everything goes behind the matches of
/// the others, as where Istio merges them, and what stands behind it in its own object is never reached.
pub(super) fn as_written(objects: &[Arc<CompiledObject>]) -> Vec<Entry> {
    let (mut all, mut catch_all) = (Vec::new(), Vec::new());
    for object in objects {
        for entry in entries(object) {
            if entry.each().is_catch_all() {
                catch_all.push(entry);
                break;
            }
            all.push(entry);
        }
    }
    all.append(&mut catch_all);
    all
}

/// Routes of the Gateway API on one service, all of one kind, the oldest first.
pub(super) fn by_specificity(objects: &[Arc<CompiledObject>]) -> Vec<Entry> {
    let mut all: Vec<Entry> = objects.iter().flat_map(|object| entries(object)).collect();
    // Stable: what is equally specific stays as it came: by age, name, rule and match.
    all.sort_by_cached_key(|entry| {
        let each = entry.each();
        Reverse(if entry.rule.source.kind == "GRPCRoute" { grpc(each) } else { http(each) })
    });
    all
}

/// HTTPRouteRule.matches: exact path, longest prefix, method, number of headers, number of query parameters. Where regular
/// expressions stand is left to implementations: before the prefix `/`, which everything has, and behind all others.
fn http(each: &CompiledMatch) -> [usize; 5] {
    let (class, length) = match &each.path {
        PathCondition::Exact { text, .. } => (3, text.len()),
        PathCondition::Prefix { text, .. } if text.len() > 1 => (2, text.len()),
        PathCondition::Elements { text, .. } if !text.is_empty() => (2, text.len()),
        PathCondition::Regex(pattern) => (1, pattern.text().len()),
        PathCondition::Any | PathCondition::Prefix { .. } | PathCondition::Elements { .. } => (0, 0),
    };
    let count =
        |test: fn(&Condition) -> bool| each.conditions.iter().filter(|condition| test(condition)).count();
    let method = count(|condition| matches!(condition, Condition::Method(_)));
    let headers = count(|condition| matches!(condition, Condition::Header { .. }));
    let query = count(|condition| matches!(condition, Condition::Query { .. }));
    [class, length, method, headers, query]
}

/// GRPCRouteRule.matches: characters of the service, of the method, number of headers.
fn grpc(each: &CompiledMatch) -> [usize; 5] {
    let (service, method) = match &each.path {
        PathCondition::Any => (0, 0),
        PathCondition::Exact { text, .. }
        | PathCondition::Prefix { text, .. }
        | PathCondition::Elements { text, .. } => parts(text),
        PathCondition::Regex(pattern) => parts(pattern.text()),
    };
    let header = |condition: &&Condition| matches!(condition, Condition::Header { .. });
    [service, method, each.conditions.iter().filter(header).count(), 0, 0]
}

/// Characters of service and method in `/service/method`; those of an expression for any of them do not count.
fn parts(path: &str) -> (usize, usize) {
    const ANY: [&str; 4] = ["[^/]+", "[^/]*", ".+", ".*"];
    let length = |part: &str| {
        let inner = part.strip_prefix("(?:").and_then(|part| part.strip_suffix(')')).unwrap_or(part);
        if ANY.contains(&inner) { 0 } else { inner.chars().count() }
    };
    let path = path.strip_prefix('/').unwrap_or(path);
    // Expressions for any name have a slash of their own.
    let ends = |any: &&str| path.strip_suffix(*any)?.strip_suffix('/').map(|service| (length(service), 0));
    ANY.iter().find_map(ends).unwrap_or_else(|| {
        path.rsplit_once('/').map_or((length(path), 0), |(service, method)| (length(service), length(method)))
    })
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn characters_of_service_and_method_are_counted_however_they_are_written() {
        for (path, wanted) in [
            ("/pkg.Svc/Get", (7, 3)),
            ("/pkg.Svc/", (7, 0)),
            ("/[^/]+/Get", (0, 3)),
            ("/pkg.Svc/[^/]+", (7, 0)),
            ("/(?:pkg.*)/(?:G.t)", (5, 3)),
            ("/[^/]+/(?:G.t)", (0, 3)),
            ("/(?:pkg.*)/[^/]+", (5, 0)),
            ("/[^/]+/[^/]+", (0, 0)),
            ("", (0, 0)),
        ] {
            assert_eq!(parts(path), wanted, "{path}");
        }
    }
}
