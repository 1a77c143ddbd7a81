//! SPIFFE identities, parsed byte for byte: what is compared is the parsed form, never text.

use std::fmt;
use std::sync::Arc;

/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
///
/// Source: SPIFFE-ID specification section 2 (character sets, 2,048 bytes at most) and Istio's path layout.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    trust_domain: Arc<str>,
    namespace: Arc<str>,
    service_account: Arc<str>,
}

/// Why a text is not an identity of this mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Over 2,048 bytes.
    #[error("longer than 2048 bytes")]
    TooLong,
    /// Does not start with `spiffe://`, in lower case.
    #[error("does not start with spiffe://")]
    Scheme,
    /// Empty, or a byte outside `[a-z0-9.-_]`.
    #[error("trust domain is empty or has a character outside [a-z0-9.-_]")]
    TrustDomain,
    /// The path is not exactly `/ns/<namespace>/sa/<service account>`.
    #[error("path is not /ns/<namespace>/sa/<service account>")]
    Path,
    /// A segment is empty, `.`, `..`, or has a byte outside `[A-Za-z0-9.-_]`.
    #[error("a path segment is empty, a dot segment, or has a character outside [A-Za-z0-9.-_]")]
    Segment,
}

impl Identity {
    /// Builds an identity from parts that the caller knows to be names of Kubernetes objects.
    ///
    /// # Errors
    /// A part breaks the grammar.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<Self, IdentityError> {
        if trust_domain.is_empty() || !trust_domain.bytes().all(is_trust_domain_byte) {
            return Err(IdentityError::TrustDomain);
        }
        for segment in [namespace, service_account] {
            let dots = segment == "." || segment == "..";
            if segment.is_empty() || dots || !segment.bytes().all(is_segment_byte) {
                return Err(IdentityError::Segment);
            }
        }
        Ok(Self {
            trust_domain: trust_domain.into(),
            namespace: namespace.into(),
            service_account: service_account.into(),
        })
    }

    /// Parses a URI SAN. No percent-decoding, no case folding, no trimming: anything unusual is an error.
    ///
    /// # Errors
    /// The text is not exactly an identity of Istio's layout.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        if uri.len() > 2048 {
            return Err(IdentityError::TooLong);
        }
        let rest = uri.strip_prefix("spiffe://").ok_or(IdentityError::Scheme)?;
        let mut parts = rest.split('/');
        let (trust_domain, ns, namespace, sa, service_account) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
        let (Some(trust_domain), Some("ns"), Some(namespace), Some("sa"), Some(service_account), None) =
            (trust_domain, ns, namespace, sa, service_account, parts.next())
        else {
            return Err(IdentityError::Path);
        };
        Self::new(trust_domain, namespace, service_account)
    }

    /// The trust domain, for example `cluster.local`.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }
    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
    /// The Kubernetes service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }
    /// Istio's principal: the URI without its scheme.
    pub fn principal(&self) -> String {
        format!("{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_trust_domain_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')
}

fn is_segment_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_identity_survives_the_round_trip() {
        let text = "spiffe://cluster.local/ns/default/sa/backend";
        assert_eq!(Identity::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn hostile_texts_are_refused() {
        let hostile = [
            "",
            "spiffe://",
            "SPIFFE://a/ns/b/sa/c",
            "spiffe://A/ns/b/sa/c",
            "spiffe://a/ns/b/sa/c/",
            "spiffe://a//ns/b/sa/c",
            "spiffe://a/ns//sa/c",
            "spiffe://a/ns/b/sa/",
            "spiffe://a/ns/b/sa/..",
            "spiffe://a/ns/b/sa/c%00",
            "spiffe://a/ns/b/sa/c\0",
            "spiffe://a:1/ns/b/sa/c",
            "spiffe://u@a/ns/b/sa/c",
            "spiffe://a/ns/b/sa/c?x",
            "spiffe://a/ns/b/sa/c#x",
            "spiffe://a/NS/b/sa/c",
            " spiffe://a/ns/b/sa/c",
            "spiffe:///ns/b/sa/c",
            "spiffe://a/ns/b/sa/c/d",
            "https://a/ns/b/sa/c",
            "spiffe://a/ns/b/sa/\u{e9}",
        ];
        for text in hostile {
            assert!(Identity::parse(text).is_err(), "{text:?} was taken");
        }
        assert_eq!(
            Identity::parse(&format!("spiffe://a/ns/b/sa/{}", "c".repeat(2048))),
            Err(IdentityError::TooLong)
        );
    }
}
