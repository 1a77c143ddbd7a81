//! `http[].match`: what a rule asks of requests.

use heddle_core::object::Labels;
use heddle_core::route::model::{HeaderMatch, HttpMatch, PathMatch, QueryMatch, TextMatch};

use super::schema::{HttpMatchRequest, StringMatch, Texts};
use super::{Gateways, port};
use crate::names;
use crate::report::{At, Notes};
use crate::route::regex;

/// The matches that concern the mesh. `None`: there were some, and none of them does.
pub(super) fn read(
    written: &[HttpMatchRequest],
    gateways: Gateways,
    at: &At<'_>,
    notes: &mut Notes,
) -> Option<Vec<HttpMatch>> {
    let mut kept = Vec::with_capacity(written.len());
    for (index, each) in written.iter().enumerate() {
        let at = at.index(index);
        let read = one(each, &at, notes);
        if gateways.concerns_mesh(&each.gateways) {
            kept.push(read);
        }
    }
    let concerns = if written.is_empty() { gateways.concerns_mesh(&[]) } else { !kept.is_empty() };
    concerns.then_some(kept)
}

fn one(written: &HttpMatchRequest, at: &At<'_>, notes: &mut Notes) -> HttpMatch {
    let header_at = at.field("headers");
    let without_at = at.field("withoutHeaders");
    let mut headers = header_matches(&written.headers, false, &header_at, notes);
    headers.extend(header_matches(&written.without_headers, true, &without_at, notes));
    let query_at = at.field("queryParams");
    let query = written.query_params.iter().map(|(name, wanted)| {
        let at = query_at.field(name);
        let value = wanted.as_ref().and_then(|wanted| text(wanted, &at, notes)).unwrap_or(TextMatch::Present);
        QueryMatch { name: name.clone(), value }
    });
    let query = query.collect();
    let mut texts = |field: &'static str, wanted: &Option<StringMatch>| {
        let at = at.field(field);
        wanted.as_ref().and_then(|wanted| told(wanted, &at, notes))
    };
    let (scheme, method, authority) = (
        texts("scheme", &written.scheme),
        texts("method", &written.method),
        texts("authority", &written.authority),
    );
    HttpMatch {
        name: written.name.clone().unwrap_or_default(),
        path: written.uri.as_ref().and_then(|wanted| path(wanted, &at.field("uri"), notes)),
        ignore_case: written.ignore_uri_case.unwrap_or(false),
        scheme,
        method,
        authority,
        headers,
        query,
        port: written.port.and_then(|number| port(number, &at.field("port"), notes)),
        source_labels: source_labels(&written.source_labels, &at.field("sourceLabels"), notes),
        source_namespace: source_namespace(
            written.source_namespace.as_deref(),
            &at.field("sourceNamespace"),
            notes,
        ),
    }
}

fn header_matches(
    written: &std::collections::BTreeMap<String, Option<StringMatch>>,
    not: bool,
    at: &At<'_>,
    notes: &mut Notes,
) -> Vec<HeaderMatch> {
    let mut read = Vec::with_capacity(written.len());
    for (name, wanted) in written {
        let at = at.field(name);
        if name.starts_with('@') {
            notes.unserved(&at, "claims of a token are matched at gateways only: this match never holds");
        } else if !is_header_name(name) {
            notes.error(
                &at,
                format!(
                    "{name:?} is no header name: write letters, digits and '-', for example \"end-user\""
                ),
            );
        }
        let value = wanted.as_ref().and_then(|wanted| text(wanted, &at, notes)).unwrap_or(TextMatch::Present);
        read.push(HeaderMatch { name: name.to_ascii_lowercase(), value, not });
    }
    read
}

/// RFC 9110 section 5.1, and HTTP/2's pseudo headers.
pub(crate) fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let name = name.strip_prefix(':').unwrap_or(name);
    !name.is_empty() && name.len() <= 256 && name.bytes().all(token)
}

fn path(wanted: &StringMatch, at: &At<'_>, notes: &mut Notes) -> Option<PathMatch> {
    let read = match told(wanted, at, notes)? {
        TextMatch::Exact(text) => PathMatch::Exact(text),
        TextMatch::Prefix(text) => PathMatch::Prefix(text),
        TextMatch::Regex(text) => PathMatch::Regex(text),
        TextMatch::Present => return None,
    };
    if let PathMatch::Exact(text) | PathMatch::Prefix(text) = &read {
        if text.contains('?') {
            notes.warning(
                at,
                format!(
                    "{text:?} has a query, which is not part of the path: it never matches; write queryParams"
                ),
            );
        } else if !text.starts_with('/') && !text.is_empty() && text != "*" {
            notes.warning(
                at,
                format!(
                    "{text:?} does not begin with '/': no path matches it; write {:?}",
                    format!("/{text}")
                ),
            );
        }
    }
    Some(read)
}

/// A match that says something; what says nothing is warned of.
fn told(wanted: &StringMatch, at: &At<'_>, notes: &mut Notes) -> Option<TextMatch> {
    let read = text(wanted, at, notes);
    if read.is_none() && *wanted == StringMatch::default() {
        notes.warning(at, "names none of exact, prefix and regex: it matches everything; write for example `exact: …`, or remove the field");
    }
    read
}

/// `None`: it is there, whatever it is.
pub(super) fn text(wanted: &StringMatch, at: &At<'_>, notes: &mut Notes) -> Option<TextMatch> {
    let StringMatch { exact, prefix, regex } = wanted;
    match (exact, prefix, regex) {
        (None, None, None) => None,
        (Some(text), None, None) => Some(TextMatch::Exact(text.clone())),
        // What begins with nothing is everything that is there.
        (None, Some(text), None) if text.is_empty() => Some(TextMatch::Present),
        (None, Some(text), None) => Some(TextMatch::Prefix(text.clone())),
        (None, None, Some(text)) if text == "*" => Some(TextMatch::Present),
        (None, None, Some(text)) => {
            regex::check(text, &at.field("regex"), notes);
            Some(TextMatch::Regex(text.clone()))
        }
        _ => {
            notes.error(
                at,
                "names more than one of exact, prefix and regex: keep one; for \"or\", write another match",
            );
            None
        }
    }
}

pub(super) fn source_labels(written: &Texts, at: &At<'_>, notes: &mut Notes) -> Labels {
    let mut problems = Vec::new();
    for (key, value) in written {
        names::check_label(&at.to_string(), key, Some(value), &mut problems);
    }
    notes.extend(problems);
    written.clone()
}

pub(super) fn source_namespace(written: Option<&str>, at: &At<'_>, notes: &mut Notes) -> Option<String> {
    let name = written.filter(|name| !name.is_empty())?;
    if !names::is_dns_label(name) {
        notes.error(at, format!("{name:?} is not a namespace: {}", names::DNS_LABEL));
    }
    Some(name.to_owned())
}
