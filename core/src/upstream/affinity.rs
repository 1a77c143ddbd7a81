//! What keeps requests that belong together at one endpoint: the hash of a header, a cookie, a parameter or an address.
//!
//! Source: Envoy `hash_policy.cc`. Values are hashed as they came, without decoding.

use std::fmt::Write;
use std::net::SocketAddr;

use http::HeaderMap;
use http::header::COOKIE;

use crate::upstream::balancer::hash_key;
use crate::upstream::model::HashKey;

/// What a request is spread by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// The request lacks it: any endpoint.
    None,
    /// The hash of what it has.
    Hash(u64),
    /// It lacks the cookie: the hash of a new one, and the `set-cookie` that the response must carry.
    NewCookie(u64, String),
}

impl Affinity {
    /// Of a request, from `client` to what was dialled. `query` is without the question mark.
    pub fn of(
        key: &HashKey,
        headers: &HeaderMap,
        query: Option<&str>,
        (client, dialled): (SocketAddr, SocketAddr),
    ) -> Self {
        let hashed = |value: Option<&[u8]>| value.map_or(Self::None, |value| Self::Hash(hash_key(value)));
        match key {
            HashKey::Header(name) => Self::of_header(headers, name),
            HashKey::Query(name) => hashed(query.and_then(|query| parameter(query, name)).map(str::as_bytes)),
            HashKey::SourceIp => hashed(Some(client.ip().to_canonical().to_string().as_bytes())),
            HashKey::Cookie { name, path, ttl } => match (cookie(headers, name), ttl) {
                (Some(value), _) => hashed(Some(value)),
                (None, None) => Self::None,
                (None, Some(ttl)) => Self::new_cookie(name, path, ttl.as_secs(), (client, dialled)),
            },
        }
    }

    /// For the balancer.
    pub fn hash(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Hash(hash) | Self::NewCookie(hash, _) => Some(*hash),
        }
    }

    /// Several values count in any order.
    fn of_header(headers: &HeaderMap, name: &str) -> Self {
        let mut values = headers.get_all(name).iter();
        let Some(first) = values.next() else { return Self::None };
        let mut all: Vec<&[u8]> = values.map(|value| value.as_bytes()).collect();
        if all.is_empty() {
            return Self::Hash(hash_key(first.as_bytes()));
        }
        all.push(first.as_bytes());
        all.sort_unstable();
        Self::Hash(hash_key(&all.concat()))
    }

    fn new_cookie(name: &str, path: &str, seconds: u64, (client, dialled): (SocketAddr, SocketAddr)) -> Self {
        let value = format!("{:016x}", hash_key(format!("{client}{dialled}").as_bytes()));
        let hash = hash_key(value.as_bytes());
        let mut cookie = format!("{name}=\"{value}\"");
        // Writing to a String cannot fail.
        if seconds > 0 {
            let _ = write!(cookie, "; Max-Age={seconds}");
        }
        if !path.is_empty() {
            let _ = write!(cookie, "; Path={path}");
        }
        cookie.push_str("; HttpOnly");
        Self::NewCookie(hash, cookie)
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}
