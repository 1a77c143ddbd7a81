//! The proxy on the way to the API server, as kubectl chooses it. (kube 5.0 holds NO_PROXY against the proxy's own address.)

use std::net::IpAddr;

use http::Uri;

/// By the environment, unless the server is exempt. A kubeconfig's own `proxy-url` goes before it.
pub(super) fn of_environment(server: &Uri) -> Option<Uri> {
    let variable = |name: &str| {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        set(name).or_else(|| set(&name.to_lowercase()))
    };
    let secure = server.scheme_str() == Some("https");
    let proxy = variable(if secure { "HTTPS_PROXY" } else { "HTTP_PROXY" })?;
    let (host, port) = (server.host()?, server.port_u16().unwrap_or(if secure { 443 } else { 80 }));
    if is_exempt(host, port, &variable("NO_PROXY").unwrap_or_default()) {
        return None;
    }
    let proxy = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
    proxy.parse().ok()
}

/// `*`, or a list of names with all below them, addresses and networks, each perhaps with a port. This machine always is.
/// Source: Go's httpproxy.Config.
fn is_exempt(host: &str, port: u16, exempt: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    exempt.split(',').map(|entry| entry.trim().to_lowercase()).filter(|entry| !entry.is_empty()).any(
        |entry| {
            if entry == "*" {
                return true;
            }
            if let (Some(address), Some((network, bits))) = (address, entry.split_once('/')) {
                return network.parse().is_ok_and(|network| holds(network, bits.parse().ok(), address));
            }
            let (name, only) = match entry.rsplit_once(':') {
                Some((name, digits)) if !name.contains(':') || name.ends_with(']') => {
                    (name, digits.parse().ok())
                }
                _ => (entry.as_str(), None),
            };
            let name = name.trim_start_matches('[').trim_end_matches(']');
            let right_port = only.is_none_or(|only: u16| only == port);
            let below = name.trim_start_matches('*').trim_start_matches('.');
            let is_below = host.strip_suffix(below).is_some_and(|rest| rest.ends_with('.'));
            let itself = host == name || host == below && !name.starts_with(['.', '*']);
            right_port && (itself || is_below && address.is_none())
        },
    )
}

fn holds(network: IpAddr, bits: Option<u32>, address: IpAddr) -> bool {
    let (network, address, width) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u128::from(network.to_bits()), u128::from(address.to_bits()), 32_u32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    let Some(rest) = bits.and_then(|bits| width.checked_sub(bits)) else { return false };
    rest == 128 || network >> rest == address >> rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exempt_is_what_go_exempts() {
        for (host, exempt) in [
            ("localhost", ""),
            ("127.0.0.9", ""),
            ("[::1]", ""),
            ("api.example.org", "*"),
            ("api.example.org", "other, example.org"),
            ("api.example.org", ".example.org"),
            ("api.example.org", "API.example.org:6443"),
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("[fd00::7]", "fd00::/16"),
            ("[fd00::7]", "[fd00::7]:6443"),
        ] {
            assert!(is_exempt(host, 6443, exempt), "{host} {exempt}");
        }
        for (host, exempt) in [
            ("api.example.org", ""),
            ("example.org", ".example.org"),
            ("badexample.org", "example.org"),
            ("api.example.org", "api.example.org:443"),
            ("10.1.2.3", "1.2.3"),
            ("11.1.2.3", "10.0.0.0/8"),
            ("10.1.2.3", "fd00::/8, 10.0.0.0/99, x/y"),
        ] {
            assert!(!is_exempt(host, 6443, exempt), "{host} {exempt}");
        }
    }
}
