//! Hosts: what Istio makes of a short name, and which texts are hosts at all.

use std::net::IpAddr;

use crate::names;
use crate::report::{At, Notes};

/// A name without a dot is a Service of the object's namespace; everything else stands as written.
///
/// Source: Istio `ResolveShortnameToFQDN`.
pub(crate) fn qualified(host: &str, namespace: &str, cluster_domain: &str) -> String {
    let lower = host.to_ascii_lowercase();
    if lower == "*" || lower.contains('.') || lower.contains(':') || lower.is_empty() {
        return lower;
    }
    format!("{lower}.{namespace}.svc.{cluster_domain}")
}

/// Notes a host that cannot be one: `*`, `*.suffix`, a name, or (where that is allowed) an address.
pub(crate) fn check(host: &str, at: &At<'_>, notes: &mut Notes) -> bool {
    if let Some(message) = wrong(host) {
        notes.error(at, message);
        return false;
    }
    true
}

fn wrong(host: &str) -> Option<String> {
    if host.is_empty() {
        return Some(
            "is empty: write a host, for example \"reviews\" or \"reviews.prod.svc.cluster.local\""
                .to_owned(),
        );
    }
    if host == "*" || host.parse::<IpAddr>().is_ok() {
        return None;
    }
    if host.contains("://") || host.contains('/') {
        return Some(format!("{host:?} is no host: write the name alone, without scheme and path"));
    }
    if let Some((name, port)) = host.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some(format!("{host:?} has a port: write {name:?}, and the port where a port is asked for"));
    }
    let rest = host.strip_prefix("*.").or_else(|| host.strip_prefix('*')).unwrap_or(host);
    if rest.contains('*') {
        return Some(format!(
            "{host:?} has a wildcard inside: only the leftmost part may be one, as in \"*.example.com\""
        ));
    }
    let name = rest.strip_suffix('.').unwrap_or(rest).to_ascii_lowercase();
    if names::is_dns_subdomain(name.strip_prefix('-').filter(|_| host.starts_with('*')).unwrap_or(&name))
        || is_relaxed(&name)
    {
        return None;
    }
    Some(format!("{host:?} is no host: {}", names::DNS_SUBDOMAIN))
}

/// Istio takes underscores, which DNS has in practice.
fn is_relaxed(name: &str) -> bool {
    name.len() <= 255
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Notes what cannot stand in an `exportTo`.
pub(crate) fn check_export_to(written: &[String], at: &At<'_>, notes: &mut Notes) {
    for (index, name) in written.iter().enumerate() {
        if !matches!(name.as_str(), "." | "*" | "~") && !names::is_dns_label(name) {
            let message = format!(
                "{name:?} is not a namespace: write one, \".\" for the object's own, or \"*\" for all"
            );
            notes.error(&at.index(index), message);
        }
    }
    for (alone, meaning) in [("*", "all namespaces"), ("~", "no namespace")] {
        if written.len() > 1 && written.iter().any(|name| name == alone) {
            notes.error(at, format!("{alone:?} means {meaning}: nothing can stand beside it"));
        }
    }
}

/// Whether every name that `inner` stands for is one of `outer`.
pub(crate) fn is_subset(inner: &str, outer: &str) -> bool {
    match outer.strip_prefix('*') {
        Some(suffix) => {
            inner.ends_with(suffix)
                && (inner.starts_with('*') || inner.len() > suffix.len() || suffix.is_empty())
        }
        None => inner == outer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_services_of_the_namespace() {
        let rows = [
            ("reviews", "reviews.prod.svc.cluster.local"),
            ("Reviews", "reviews.prod.svc.cluster.local"),
            ("reviews.other", "reviews.other"),
            ("*", "*"),
            ("*.example.com", "*.example.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("fd00::1", "fd00::1"),
        ];
        for (host, want) in rows {
            assert_eq!(qualified(host, "prod", "cluster.local"), want, "{host}");
        }
    }

    #[test]
    fn texts_that_are_no_hosts_say_what_to_write() {
        for host in ["a", "a.b", "*", "*.a.b", "*a.b", "10.0.0.1", "fd00::1", "a_b.c", "a.b.", "A.com"] {
            assert_eq!(wrong(host), None, "{host}");
        }
        for (host, word) in [
            ("", "empty"),
            ("a:80", "has a port"),
            ("http://a", "without scheme"),
            ("a/b", "without scheme"),
            ("a.*.b", "wildcard inside"),
            ("**", "wildcard inside"),
            ("-a", "a-z"),
            ("a b", "a-z"),
            ("a..b", "a-z"),
        ] {
            let message = wrong(host).unwrap_or_default();
            assert!(message.contains(word), "{host:?}: {message}");
        }
    }

    #[test]
    fn subsets_of_wildcards_are_told() {
        for (inner, outer, want) in [
            ("a.b.c", "*.b.c", true),
            ("*.a.b.c", "*.b.c", true),
            ("b.c", "*.b.c", false),
            ("a.b.c", "*", true),
            ("*", "*", true),
            ("*.c", "*.b.c", false),
            ("a.b.c", "a.b.c", true),
        ] {
            assert_eq!(is_subset(inner, outer), want, "{inner} {outer}");
        }
    }
}
