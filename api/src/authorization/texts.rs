//! The values of a policy: texts with wildcards at their ends, paths, ports, networks, accounts.

use heddle_core::policy::{Cidr, StringMatch};

use crate::names;
use crate::report::{At, Notes};

pub(super) fn list(written: &[String], at: &At<'_>, notes: &mut Notes) -> Box<[StringMatch]> {
    let items = written.iter().enumerate();
    items.map(|(index, text)| one(text, &at.index(index), notes)).collect()
}

/// Istio takes `*` at either end; a leading one counts first.
fn one(text: &str, at: &At<'_>, notes: &mut Notes) -> StringMatch {
    if text.is_empty() {
        notes.error(at, "is empty: write a value, or \"*\" for any but the empty one");
    }
    if text == "*" {
        return StringMatch::Presence;
    }
    let inner = text.strip_prefix('*').or_else(|| text.strip_suffix('*')).unwrap_or(text);
    if inner.contains('*') {
        notes.warning(
            at,
            format!(
                "{text:?}: only one '*' counts, at the beginning or the end; the other stands for itself"
            ),
        );
    }
    match (text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(rest), _) => StringMatch::Suffix(rest.to_owned()),
        (None, Some(rest)) => StringMatch::Prefix(rest.to_owned()),
        (None, None) => StringMatch::Exact(text.to_owned()),
    }
}

/// Principals carry no scheme.
pub(super) fn principals(written: &[String], at: &At<'_>, notes: &mut Notes) -> Box<[StringMatch]> {
    for (index, text) in written.iter().enumerate() {
        if let Some(rest) = text.strip_prefix("spiffe://") {
            notes.warning(
                &at.index(index),
                format!("has a scheme, which principals have not: it matches nobody; write {rest:?}"),
            );
        }
    }
    list(written, at, notes)
}

/// Paths know templates too.
pub(super) fn paths(written: &[String], at: &At<'_>, notes: &mut Notes) -> Box<[StringMatch]> {
    let items = written.iter().enumerate();
    items.map(|(index, text)| path(text, &at.index(index), notes)).collect()
}

fn path(text: &str, at: &At<'_>, notes: &mut Notes) -> StringMatch {
    let is_template = text.contains("{*}") || text.contains("{**}");
    if is_template {
        if let Some(message) = wrong_template(text) {
            notes.error(at, format!("{text:?} {message}"));
        }
        return StringMatch::Template(text.to_owned());
    }
    if text.contains(['{', '}']) {
        notes.error(
            at,
            format!("{text:?} has a brace: write {{*}} for one segment, {{**}} for any number of them"),
        );
    }
    one(text, at, notes)
}

/// Envoy's URI template as Istio restricts it.
fn wrong_template(text: &str) -> Option<&'static str> {
    let mut rest = false;
    for segment in text.strip_prefix('/')?.split('/') {
        let braces = segment.contains(['{', '}', '*']);
        match segment {
            "{*}" if rest => return Some("has {*} after {**}: only plain segments can follow it"),
            "{**}" if rest => return Some("has {**} twice: once is the most"),
            "{**}" => rest = true,
            "{*}" => {}
            _ if braces => {
                return Some("mixes braces or '*' with text: {*} and {**} stand alone between slashes");
            }
            _ => {}
        }
    }
    None
}

pub(super) fn ports(written: &[String], at: &At<'_>, notes: &mut Notes) -> Box<[u16]> {
    let mut read = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        match text.parse::<u16>().ok().filter(|port| *port != 0 && port.to_string() == *text) {
            Some(port) => read.push(port),
            None => notes
                .error(&at.index(index), format!("{text:?} is no port: write one from \"1\" to \"65535\"")),
        }
    }
    read.into()
}

pub(super) fn networks(written: &[String], at: &At<'_>, notes: &mut Notes) -> Box<[Cidr]> {
    let mut read = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        match Cidr::parse(text) {
            Some(network) => read.push(network),
            None => notes.error(
                &at.index(index),
                format!("{text:?} is no network: write an address, or one such as 10.0.0.0/8"),
            ),
        }
    }
    read.into()
}

/// `<namespace>/<name>`, or a name of the policy's own namespace.
pub(super) fn accounts(
    written: &[String],
    own: &str,
    at: &At<'_>,
    notes: &mut Notes,
) -> Box<[(String, String)]> {
    if written.len() > 16 {
        notes.error(at, format!("has {} items, 16 is the most", written.len()));
    }
    let mut read = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        let (namespace, name) = text.split_once('/').unwrap_or((own, text));
        if names::is_dns_label(namespace) && names::is_dns_subdomain(name) {
            read.push((namespace.to_owned(), name.to_owned()));
        } else {
            notes.error(
                &at.index(index),
                format!("{text:?} is no service account: write NAME or NAMESPACE/NAME, without wildcards"),
            );
        }
    }
    read.into()
}
