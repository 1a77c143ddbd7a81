//! Judges a CONNECT request before anything acts on it: pure, and fed by fuzzers.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderValue};
use http::{Method, Uri};

use crate::datapath::{OUTBOUND_PORT, PLAINTEXT_PORT, TUNNEL_PORT};

/// Why a request is not one that this pod serves; all are answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConnect {
    /// Another method, or an extended CONNECT.
    #[error("not a CONNECT")]
    Method,
    /// The authority is missing or is not `ip:port` in its one canonical form.
    #[error("the authority is not ip:port")]
    Authority,
    /// Not an address of the pod, or loopback and its kind.
    #[error("the address is not the pod's")]
    Address,
    /// A port of the agent itself, or 0.
    #[error("the port cannot be a destination")]
    Port,
}

/// Checks method and authority of a request that came to the pod with these addresses; where it wants to go.
///
/// # Errors
/// It is not a CONNECT to an application of this very pod.
pub fn check(method: &Method, uri: &Uri, pod: &[IpAddr]) -> Result<SocketAddr, BadConnect> {
    if method != Method::CONNECT || uri.path_and_query().is_some() || uri.scheme().is_some() {
        return Err(BadConnect::Method);
    }
    let authority = uri.authority().ok_or(BadConnect::Authority)?.as_str();
    let address: SocketAddr = authority.parse().map_err(|_not_an_address| BadConnect::Authority)?;
    // One form per destination, so that nothing is judged in one form and dialled in another: no v4-mapped
    // addresses, scopes, leading zeros.
    if address.to_string() != authority || address.ip().to_canonical() != address.ip() {
        return Err(BadConnect::Authority);
    }
    check_destination(address, pod)?;
    Ok(address)
}

/// Whether an inbound connection to this address is for an application of the pod.
///
/// # Errors
/// It is for somebody else, or for the agent itself, which would loop.
pub fn check_destination(address: SocketAddr, pod: &[IpAddr]) -> Result<(), BadConnect> {
    if !pod.contains(&address.ip()) {
        return Err(BadConnect::Address);
    }
    match address.port() {
        0 | OUTBOUND_PORT | PLAINTEXT_PORT | TUNNEL_PORT => Err(BadConnect::Port),
        _ => Ok(()),
    }
}

/// Whether the address could be reached from inside only: never taken from a tunnel, whatever the pod's record says.
pub fn is_local_only(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
    }
}

/// The client that the other agent names in `forwarded: for="ip:port"` (RFC 7239, ztunnel's use of it).
/// A hint: only its port is used, and only if its address is the tunnel peer's own.
pub fn forwarded(headers: &HeaderMap) -> Option<SocketAddr> {
    let text = headers.get(FORWARDED)?.to_str().ok()?;
    let elements = text.split([';', ',']).map(str::trim);
    let value = elements
        .filter_map(|element| element.split_once('='))
        .find_map(|(name, value)| name.trim().eq_ignore_ascii_case("for").then(|| value.trim()))?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    value.parse().ok()
}

/// Who connects, as the application shall see it: the client by its own port, where it is one; else the pod by that of the tunnel,
/// which carries requests of several.
pub fn client(tunnel_peer: SocketAddr, forwarded: Option<SocketAddr>) -> SocketAddr {
    let ip = tunnel_peer.ip().to_canonical();
    let lent = forwarded.filter(|client| client.ip().to_canonical() == ip && client.port() != 0);
    SocketAddr::new(ip, lent.unwrap_or(tunnel_peer).port())
}

/// `for="ip:port"`.
pub fn forwarded_value(client: SocketAddr) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("for=\"{client}\"")).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pod() -> Vec<IpAddr> {
        vec!["10.244.1.2".parse().unwrap(), "fd00:10:244:1::2".parse().unwrap()]
    }

    fn judge(authority: &str) -> Result<SocketAddr, BadConnect> {
        let uri = Uri::builder().authority(authority).build().map_err(|_error| BadConnect::Authority)?;
        check(&Method::CONNECT, &uri, &pod())
    }

    #[test]
    fn the_pods_own_addresses_are_destinations() {
        for authority in ["10.244.1.2:80", "[fd00:10:244:1::2]:8080"] {
            assert_eq!(judge(authority).unwrap().to_string(), authority);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let refused = [
            ("127.0.0.1:80", BadConnect::Address),
            ("10.244.1.3:80", BadConnect::Address),
            ("169.254.169.254:80", BadConnect::Address),
            ("[::1]:80", BadConnect::Address),
            ("[::ffff:10.244.1.2]:80", BadConnect::Authority),
            ("[fd00:10:244:1:0::2]:80", BadConnect::Authority),
            ("[FD00:10:244:1::2]:80", BadConnect::Authority),
            ("10.244.1.2:080", BadConnect::Authority),
            ("10.244.1.2", BadConnect::Authority),
            ("localhost:80", BadConnect::Authority),
            ("u@10.244.1.2:80", BadConnect::Authority),
            ("10.244.1.2:0", BadConnect::Port),
            ("10.244.1.2:15001", BadConnect::Port),
            ("10.244.1.2:15006", BadConnect::Port),
            ("10.244.1.2:15008", BadConnect::Port),
        ];
        for (authority, why) in refused {
            assert_eq!(judge(authority), Err(why), "{authority}");
        }
        let uri = Uri::from_static("10.244.1.2:80");
        assert_eq!(check(&Method::GET, &uri, &pod()), Err(BadConnect::Method));
        let uri = Uri::from_static("http://10.244.1.2:80/x");
        assert_eq!(check(&Method::CONNECT, &uri, &pod()), Err(BadConnect::Method));
    }

    #[test]
    fn a_client_lends_a_port_but_never_an_address() {
        let peer = "10.244.2.9:40000".parse().unwrap();
        let named = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED, HeaderValue::from_static(value));
            client(peer, forwarded(&headers)).to_string()
        };
        assert_eq!(named("for=\"10.244.2.9:5555\""), "10.244.2.9:5555");
        assert_eq!(named("for=10.244.2.9:5555;proto=https"), "10.244.2.9:5555");
        assert_eq!(named("by=x; For=\"10.244.2.9:5555\""), "10.244.2.9:5555");
        assert_eq!(named("for=\"10.244.7.7:5555\""), "10.244.2.9:40000");
        assert_eq!(named("for=\"10.244.2.9:0\""), "10.244.2.9:40000");
        assert_eq!(named("for=unknown"), "10.244.2.9:40000");
        assert_eq!(named("for=\""), "10.244.2.9:40000");
        assert_eq!(named(""), "10.244.2.9:40000");
    }

    #[test]
    fn what_we_send_is_what_we_read() {
        for text in ["10.244.2.9:5555", "[fd00::9]:5555"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED, forwarded_value(address).unwrap());
            assert_eq!(forwarded(&headers), Some(address));
        }
    }
}
