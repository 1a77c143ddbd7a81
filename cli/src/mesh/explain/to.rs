//! What people write for the destination of a request.

use crate::mesh::Failure;

/// A destination, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Destination {
    /// A name or an address; of a pod, what `World::pod` takes.
    pub(super) host: String,
    pub(super) is_pod: bool,
    pub(super) port: Option<u16>,
    pub(super) path: Option<String>,
}

impl Destination {
    /// `reviews`, `reviews.shop:9080/x`, `http://reviews/x`, `10.0.0.1:80`, `[::1]:80`, `pod/NAME`, `deploy/NAME`.
    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        const PODS: [&str; 9] =
            ["pod", "pods", "po", "deploy", "deployment", "deployments", "sts", "statefulset", "ds"];
        if let Some((kind, _)) = text.split_once('/')
            && PODS.contains(&kind)
        {
            return Ok(Self { host: text.to_owned(), is_pod: true, ..Self::default() });
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, text),
        };
        let default = match scheme {
            Some("http" | "ws" | "grpc") => Some(80),
            Some("https" | "wss") => Some(443),
            Some(other) => return Err(Failure(format!("{text}: the scheme {other} is not http or https"))),
            None => None,
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let path = match path {
            "" => None,
            path if path.starts_with('/') => Some(path.to_owned()),
            query => Some(format!("/{query}")),
        };
        let (host, port) = split(authority).ok_or_else(|| Failure(format!("{text}: no such destination")))?;
        Ok(Self { host, is_pod: false, port: port.or(default), path })
    }
}

/// Host and port; the host without brackets.
fn split(authority: &str) -> Option<(String, Option<u16>)> {
    if authority.parse::<std::net::IpAddr>().is_ok() {
        return Some((authority.to_owned(), None));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (authority, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_way_of_writing_a_destination_is_read() {
        for (text, host, port, path) in [
            ("reviews", "reviews", None, None),
            ("reviews.shop:9080/x?y=1", "reviews.shop", Some(9080), Some("/x?y=1")),
            ("http://reviews", "reviews", Some(80), None),
            ("https://reviews?y", "reviews", Some(443), Some("/?y")),
            ("10.0.0.1:8080", "10.0.0.1", Some(8080), None),
            ("fd00::1", "fd00::1", None, None),
            ("http://[fd00::1]:81/", "fd00::1", Some(81), Some("/")),
        ] {
            let read = Destination::read(text).ok().unwrap();
            assert_eq!((read.host.as_str(), read.port, read.path.as_deref()), (host, port, path), "{text}");
        }
        assert!(Destination::read("deploy/echo").ok().unwrap().is_pod);
        assert!(Destination::read("ftp://x").is_err() && Destination::read(":80").is_err());
    }
}
