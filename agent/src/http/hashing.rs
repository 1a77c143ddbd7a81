//! What `consistentHash` spreads requests by, and the cookie that is made where one lacks.

use std::net::IpAddr;
use std::time::Duration;

use heddle_core::upstream::model::{Algorithm, HashKey};
use heddle_core::upstream::{Cluster, hash_key};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The hash of a request; with it the `set-cookie` that makes the next one come back.
pub fn hash(
    cluster: &Cluster,
    headers: &HeaderMap,
    query: Option<&str>,
    client: IpAddr,
    random: u64,
) -> (Option<u64>, Option<HeaderValue>) {
    let Some(balancer) = &cluster.policy.load_balancer else { return (None, None) };
    let Algorithm::ConsistentHash { key, .. } = &balancer.algorithm else { return (None, None) };
    match key {
        HashKey::Header(name) => (headers.get(name).map(|value| hash_key(value.as_bytes())), None),
        HashKey::SourceIp => (Some(hash_key(client.to_canonical().to_string().as_bytes())), None),
        HashKey::Query(name) => {
            let pairs = query.unwrap_or_default().split('&');
            let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
            (pairs.find(|(found, _)| found == name).map(|(_, value)| hash_key(value.as_bytes())), None)
        }
        HashKey::Cookie { name, path, ttl } => match cookie(headers, name) {
            Some(value) => (Some(hash_key(value.as_bytes())), None),
            None => {
                let Some(ttl) = ttl else { return (None, None) };
                let value = format!("{random:016x}");
                (Some(hash_key(value.as_bytes())), set_cookie(name, &value, path, *ttl))
            }
        },
    }
}

/// The value of a cookie of the request.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value.trim_matches('"'))
}

/// As Envoy writes it.
fn set_cookie(name: &str, value: &str, path: &str, ttl: Duration) -> Option<HeaderValue> {
    let age = if ttl.is_zero() { String::new() } else { format!("; Max-Age={}", ttl.as_secs()) };
    let path = if path.is_empty() { String::new() } else { format!("; Path={path}") };
    HeaderValue::from_str(&format!("{name}=\"{value}\"{age}{path}; HttpOnly")).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_made_as_envoy_makes_it() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("a=1; user=\"x\"; b=2"));
        assert_eq!(cookie(&headers, "user"), Some("x"));
        assert_eq!(cookie(&headers, "use"), None);
        let made = set_cookie("user", "0a", "/p", Duration::from_secs(5)).unwrap();
        assert_eq!(made, "user=\"0a\"; Max-Age=5; Path=/p; HttpOnly");
    }
}
