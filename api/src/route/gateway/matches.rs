//! `matches`: what a rule asks of requests.

use std::collections::HashSet;

use heddle_core::route::model::{HeaderMatch, HttpMatch, PathMatch, QueryMatch, TextMatch};

use super::schema::{
    self, GrpcMethodMatch, GrpcRouteMatch, HttpRouteMatch, MatchType, NamedMatch, PathMatchType,
};
use crate::report::{At, Notes};
use crate::route::regex;
use crate::route::virtual_service::is_header_name;

const MOST_PATH: usize = 1024;
const MOST_NAMED: usize = 16;
/// Any element of a path.
const ELEMENT: &str = "[^/]+";

pub(super) fn http(written: &[HttpRouteMatch], at: &At<'_>, notes: &mut Notes) -> Vec<HttpMatch> {
    super::at_most(written.len(), 64, at, notes);
    let all = [HttpRouteMatch::default()];
    let written = if written.is_empty() { &all } else { written };
    let read = written.iter().enumerate().map(|(index, each)| {
        let at = at.index(index);
        HttpMatch {
            path: Some(path(each.path.as_ref(), &at.field("path"), notes)),
            method: each.method.map(|method| TextMatch::Exact(method.text().to_owned())),
            headers: headers(&each.headers, &at.field("headers"), notes),
            query: queries(&each.query_params, &at.field("queryParams"), notes),
            ..HttpMatch::default()
        }
    });
    read.collect()
}

pub(super) fn grpc(written: &[GrpcRouteMatch], at: &At<'_>, notes: &mut Notes) -> Vec<HttpMatch> {
    super::at_most(written.len(), 64, at, notes);
    let all = [GrpcRouteMatch::default()];
    let written = if written.is_empty() { &all } else { written };
    let read = written.iter().enumerate().map(|(index, each)| {
        let at = at.index(index);
        HttpMatch {
            path: each.method.as_ref().and_then(|method| grpc_path(method, &at.field("method"), notes)),
            headers: headers(&each.headers, &at.field("headers"), notes),
            ..HttpMatch::default()
        }
    });
    read.collect()
}

/// Whether the rule has exactly one match, and that by a prefix: what `replacePrefixMatch` needs.
pub(super) fn has_one_prefix(written: &[HttpRouteMatch]) -> bool {
    let prefix = |each: &HttpRouteMatch| {
        let kind = each.path.as_ref().and_then(|path| path.r#type);
        matches!(kind, None | Some(PathMatchType::PathPrefix))
    };
    // Absent matches and absent paths are the prefix "/" by default.
    matches!(written, []) || matches!(written, [only] if prefix(only))
}

fn path(written: Option<&schema::PathMatch>, at: &At<'_>, notes: &mut Notes) -> PathMatch {
    let kind = written.and_then(|path| path.r#type).unwrap_or(PathMatchType::PathPrefix);
    let value = written.and_then(|path| path.value.clone()).unwrap_or_else(|| "/".to_owned());
    let at = at.field("value");
    if value.len() > MOST_PATH {
        notes.error(&at, format!("has {} bytes, {MOST_PATH} is the most", value.len()));
    }
    match kind {
        PathMatchType::RegularExpression => {
            regex::check(&value, &at, notes);
            PathMatch::Regex(value)
        }
        PathMatchType::Exact => {
            plain_path(&value, &at, notes);
            PathMatch::Exact(value)
        }
        PathMatchType::PathPrefix => {
            plain_path(&value, &at, notes);
            PathMatch::Elements(value)
        }
    }
}

/// Gateway API's rules for a path that is compared as it stands.
fn plain_path(value: &str, at: &At<'_>, notes: &mut Notes) {
    if !value.starts_with('/') {
        notes.error(at, format!("{value:?} does not begin with '/': write {:?}", format!("/{value}")));
    }
    for part in ["//", "/./", "/../", "%2f", "%2F", "#", "?"] {
        if value.contains(part) {
            notes.error(at, format!("{value:?} contains {part:?}, which no canonical path does: remove it"));
        }
    }
    for end in ["/..", "/."] {
        if value.ends_with(end) {
            notes.error(at, format!("{value:?} ends with {end:?}, which no canonical path does: remove it"));
        }
    }
}

/// Of equal names the first counts.
fn headers(written: &[NamedMatch], at: &At<'_>, notes: &mut Notes) -> Vec<HeaderMatch> {
    named(written, true, at, notes).map(|(name, value)| HeaderMatch { name, value, not: false }).collect()
}

fn queries(written: &[NamedMatch], at: &At<'_>, notes: &mut Notes) -> Vec<QueryMatch> {
    named(written, false, at, notes).map(|(name, value)| QueryMatch { name, value }).collect()
}

fn named(
    written: &[NamedMatch],
    fold: bool,
    at: &At<'_>,
    notes: &mut Notes,
) -> impl Iterator<Item = (String, TextMatch)> {
    super::at_most(written.len(), MOST_NAMED, at, notes);
    let mut seen = HashSet::new();
    let mut read = Vec::with_capacity(written.len());
    for (index, each) in written.iter().enumerate() {
        let at = at.index(index);
        let name = each.name.as_deref().unwrap_or_default();
        let name = if fold { name.to_ascii_lowercase() } else { name.to_owned() };
        if name.is_empty() {
            notes.error(&at.field("name"), "is required");
        } else if !is_header_name(&name) || name.starts_with(':') {
            notes.error(
                &at.field("name"),
                format!("{name:?} is no name: write letters, digits and '-', for example \"version\""),
            );
        }
        let value_at = at.field("value");
        let value = each.value.clone().unwrap_or_default();
        if value.is_empty() {
            notes.error(&value_at, "is required");
        }
        let value = match each.r#type {
            Some(MatchType::RegularExpression) => {
                regex::check(&value, &value_at, notes);
                TextMatch::Regex(value)
            }
            _ => TextMatch::Exact(value),
        };
        if seen.insert(name.clone()) {
            read.push((name, value));
        } else {
            notes.warning(
                &at,
                format!("another match is of {name:?}: only the first counts; remove this one"),
            );
        }
    }
    read.into_iter()
}

fn grpc_path(written: &GrpcMethodMatch, at: &At<'_>, notes: &mut Notes) -> Option<PathMatch> {
    let service = written.service.as_deref().filter(|text| !text.is_empty());
    let method = written.method.as_deref().filter(|text| !text.is_empty());
    if service.is_none() && method.is_none() {
        notes.error(at, "names neither service nor method: write at least one");
        return None;
    }
    if written.r#type == Some(MatchType::RegularExpression) {
        for (field, text) in [("service", service), ("method", method)] {
            text.map(|text| regex::check(text, &at.field(field), notes));
        }
        let part = |text: Option<&str>| text.map_or_else(|| ELEMENT.to_owned(), |text| format!("(?:{text})"));
        return Some(PathMatch::Regex(format!("/{}/{}", part(service), part(method))));
    }
    for (field, text, extra) in [("service", service, "."), ("method", method, "")] {
        let inside = |each: char| each.is_ascii_alphanumeric() || each == '_' || extra.contains(each);
        if text.is_some_and(|text| {
            !text.chars().all(inside) || text.starts_with(|first: char| first.is_ascii_digit())
        }) {
            let text = text.unwrap_or_default();
            notes.error(
                &at.field(field),
                format!(
                    "{text:?} is no name of gRPC: write letters, digits and '_', or `type: RegularExpression`"
                ),
            );
        }
    }
    Some(match (service, method) {
        (Some(service), Some(method)) => PathMatch::Exact(format!("/{service}/{method}")),
        (Some(service), None) => PathMatch::Prefix(format!("/{service}/")),
        (None, method) => PathMatch::Regex(format!("/{ELEMENT}/{}", method.unwrap_or_default())),
    })
}
