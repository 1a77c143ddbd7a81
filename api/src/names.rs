//! The syntax of names, labels and ports, as the API server checks it.
//!
//! Source: Kubernetes `apimachinery/pkg/util/validation`; RFC 1123 section 2.1, RFC 1035 section 2.3.1.

use crate::diagnostic::Problem;
use crate::strict::push_field;

/// A DNS label: Services' pods, namespaces, containers.
pub fn is_dns_label(text: &str) -> bool {
    let inside = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A DNS label that begins with a letter (RFC 1035): Services.
pub fn is_service_name(text: &str) -> bool {
    is_dns_label(text) && text.starts_with(|first: char| first.is_ascii_lowercase())
}

/// Labels joined by dots, 253 bytes at most: most objects.
pub fn is_dns_subdomain(text: &str) -> bool {
    let label = |part: &str| {
        let inside = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        !part.is_empty() && part.bytes().all(inside) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// The key of a label or annotation: an optional prefix (a DNS subdomain), a slash, a name.
pub fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && !name.is_empty() && is_label_value(name),
        None => !text.is_empty() && is_label_value(text),
    }
}

/// The value of a label: 63 bytes at most, may be empty.
pub fn is_label_value(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    text.is_empty()
        || (text.len() <= 63 && text.bytes().all(inside) && ends(bytes.first()) && ends(bytes.last()))
}

/// The name of a port of a container or service: 15 bytes at most, at least one letter.
pub fn is_port_name(text: &str) -> bool {
    is_dns_label(text)
        && text.len() <= 15
        && !text.contains("--")
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

pub(crate) const DNS_LABEL: &str =
    "write at most 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit";
pub(crate) const SERVICE_NAME: &str =
    "write at most 63 of a-z, 0-9 and '-', beginning with a letter and not ending with '-'";
pub(crate) const DNS_SUBDOMAIN: &str =
    "write at most 253 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit";
pub(crate) const PORT_NAME: &str = "write at most 15 of a-z, 0-9 and '-', with at least one letter";
const LABEL_KEY: &str =
    "write an optional DNS prefix and '/', then at most 63 of letters, digits, '-', '_' and '.'";
const LABEL_VALUE: &str =
    "write at most 63 of letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";

/// Notes a label whose key or value the API server would refuse.
pub(crate) fn check_label(path: &str, key: &str, value: Option<&str>, problems: &mut Vec<Problem>) {
    let mut at = path.to_owned();
    push_field(&mut at, key);
    if key.is_empty() {
        problems.push(Problem::schema(at, "the key of a label cannot be empty"));
    } else if !is_qualified_name(key) {
        problems.push(Problem::schema(at, format!("{key:?} is not the key of a label: {LABEL_KEY}")));
    } else if let Some(value) = value.filter(|value| !is_label_value(value)) {
        problems.push(Problem::schema(at, format!("{value:?} is not the value of a label: {LABEL_VALUE}")));
    }
}

/// The same for a selector of an Istio kind, where people try wildcards.
pub(crate) fn check_selector_label(path: &str, key: &str, value: Option<&str>, problems: &mut Vec<Problem>) {
    if key.contains('*') || value.is_some_and(|value| value.contains('*')) {
        let mut at = path.to_owned();
        push_field(&mut at, key);
        problems
            .push(Problem::schema(at, "a selector takes no wildcard: write the label as the pods have it"));
        return;
    }
    check_label(path, key, value, problems);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_grammars() {
        let long = "a".repeat(64);
        let most = "a".repeat(63);
        for (text, label, service, subdomain) in [
            ("a", true, true, true),
            ("a-b", true, true, true),
            ("1a", true, false, true),
            ("a.b", false, false, true),
            ("", false, false, false),
            ("-a", false, false, false),
            ("a-", false, false, false),
            ("A", false, false, false),
            ("a_b", false, false, false),
            ("a..b", false, false, false),
            ("é", false, false, false),
            (most.as_str(), true, true, true),
            (long.as_str(), false, false, true),
        ] {
            assert_eq!(is_dns_label(text), label, "label {text:?}");
            assert_eq!(is_service_name(text), service, "service {text:?}");
            assert_eq!(is_dns_subdomain(text), subdomain, "subdomain {text:?}");
        }
    }

    #[test]
    fn labels_follow_their_grammar() {
        for key in ["app", "a.b/c", "app.kubernetes.io/name", "A_b.c-D", "heddle.dev/mesh"] {
            assert!(is_qualified_name(key), "{key}");
        }
        for key in ["", "/a", "a/", "a/b/c", "-a", "a-", "a b", "A.b/c", "a*"] {
            assert!(!is_qualified_name(key), "{key}");
        }
        for value in ["", "a", "A.b_c-1", "1"] {
            assert!(is_label_value(value), "{value}");
        }
        for value in ["-", "a-", "a b", "a/b", "*"] {
            assert!(!is_label_value(value), "{value}");
        }
    }

    #[test]
    fn a_port_name_needs_a_letter_and_at_most_15_bytes() {
        assert!(is_port_name("http") && is_port_name("http-2") && is_port_name("a23456789012345"));
        for name in ["80", "", "a234567890123456", "HTTP", "a--b", "-a"] {
            assert!(!is_port_name(name), "{name}");
        }
    }
}
