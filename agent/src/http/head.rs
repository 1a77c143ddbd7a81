//! Heads of messages: what belongs to one hop only, whose they are, and what Istio's users expect to see in them.

use std::time::Duration;

use http::header::{
    CONNECTION, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};

/// `x-request-id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `x-envoy-attempt-count`.
pub const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
/// `x-envoy-upstream-service-time`, milliseconds.
pub const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
/// `x-envoy-expected-rq-timeout-ms`.
pub const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
/// `x-forwarded-proto`.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `x-heddle-missed`: in an answer of the destination's agent, its application had no part in it. The client's agent takes
/// it away, and may send the request elsewhere.
pub const MISSED: HeaderName = HeaderName::from_static("x-heddle-missed");
/// [`MISSED`]: there was no connection, nothing was sent.
pub const MISSED_CONNECT: HeaderValue = HeaderValue::from_static("connect");
/// [`MISSED`]: the connection ended before an answer.
pub const MISSED_RESET: HeaderValue = HeaderValue::from_static("reset");
const RQ_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// What goes whatever it says. What agents tell each other is an application's neither to say nor to hear.
const OF_HOP: [HeaderName; 7] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS, MISSED];
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Why a head is refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// No authority, or one that is none.
    #[error("the authority is missing or malformed")]
    Authority,
    /// Two that differ.
    #[error("the request names two authorities")]
    TwoAuthorities,
}

/// The authority of a request, out of the form that its version gives it.
///
/// # Errors
/// It has none where it must have one, or two that differ.
pub fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, BadHead> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(BadHead::TwoAuthorities);
    }
    let Some(target) = uri.authority() else {
        let Some(host) = host.filter(|host| !host.is_empty()) else { return Ok(None) };
        let parsed = Authority::try_from(host.as_bytes()).map_err(|_invalid| BadHead::Authority)?;
        return if has_user(&parsed) { Err(BadHead::Authority) } else { Ok(Some(host.clone())) };
    };
    if has_user(target) {
        return Err(BadHead::Authority);
    }
    match host {
        Some(host) if host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes()) => {
            Ok(Some(host.clone()))
        }
        Some(_) => Err(BadHead::TwoAuthorities),
        None => HeaderValue::from_str(target.as_str()).map(Some).map_err(|_invalid| BadHead::Authority),
    }
}

fn has_user(authority: &Authority) -> bool {
    authority.as_str().contains('@')
}

/// Takes away what belongs to the hop that the message came by. `te: trailers` stays: gRPC servers want it.
pub fn strip_hop(headers: &mut HeaderMap) {
    // One look at each header instead of one for each name: most messages have none of these.
    if !headers.keys().any(|name| name == TE || is_of_hop(name)) {
        return;
    }
    if headers.contains_key(CONNECTION) {
        strip_nominated(headers);
    }
    for name in OF_HOP {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|te| !mentions(te, b"trailers")) {
        headers.remove(TE);
    } else if let Some(te) = headers.get_mut(TE) {
        *te = HeaderValue::from_static("trailers");
    }
}

fn is_of_hop(name: &HeaderName) -> bool {
    OF_HOP.contains(name)
}

/// RFC 9110 section 7.6.1: what `Connection` names goes too. What frames or routes the message is not to be named.
fn strip_nominated(headers: &mut HeaderMap) {
    let mut named: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        let tokens = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        named.extend(tokens.filter_map(|token| HeaderName::from_bytes(token).ok()));
    }
    headers.remove(CONNECTION);
    for name in named {
        let kept =
            [HOST, http::header::CONTENT_LENGTH, http::header::CONTENT_TYPE, TE, TRAILER, PROXY_AUTHENTICATE];
        if !kept.contains(&name) {
            headers.remove(name);
        }
    }
}

fn mentions(value: &HeaderValue, token: &[u8]) -> bool {
    value.as_bytes().split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

/// The protocol that a request asks to switch to; h2c is not one.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asks = headers.get_all(CONNECTION).iter().any(|value| mentions(value, b"upgrade"));
    (asks && !protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}

/// What is answered here is not asked of the upstream.
pub fn strip_expect(headers: &mut HeaderMap) {
    headers.remove(EXPECT);
}

/// `x-envoy-upstream-rq-timeout-ms`, taken away.
pub fn take_timeout(headers: &mut HeaderMap) -> Option<Duration> {
    let asked = headers.remove(RQ_TIMEOUT)?;
    asked.to_str().ok()?.parse().ok().map(Duration::from_millis)
}

/// How often a request was sent, as a header.
pub fn attempt_count(number: u32) -> HeaderValue {
    digits(number.into())
}

/// A time in milliseconds, as a header.
pub fn millis(time: Duration) -> HeaderValue {
    digits(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// One digit without an allocation, which most are.
fn digits(number: u64) -> HeaderValue {
    const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let digit = usize::try_from(number).ok().and_then(|number| DIGITS.get(number));
    digit.map_or_else(|| HeaderValue::from(number), |digit| HeaderValue::from_static(digit))
}

/// `grpc-status` of a head or of trailers.
pub fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// A version 4 UUID of two random numbers.
pub fn request_id(high: u64, low: u64) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let high = (high & !0xF000) | 0x4000;
    let low = (low & !(3 << 62)) | (1 << 63);
    let mut text = [b'-'; 36];
    let mut digits = (0..32).map(|at: u32| {
        let word = if at < 16 { high } else { low };
        HEX[usize::try_from((word >> (60 - 4 * (at % 16))) & 15).unwrap_or(0)]
    });
    for (at, place) in text.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 18 | 23) {
            *place = digits.next().unwrap_or(b'0');
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_request_has_one_authority() {
        let ask = |uri: &'static str, pairs| authority(&Uri::from_static(uri), &headers(pairs));
        assert_eq!(ask("/", &[("host", "a:80")]), Ok(Some(HeaderValue::from_static("a:80"))));
        assert_eq!(ask("http://a/", &[("host", "A")]), Ok(Some(HeaderValue::from_static("A"))));
        assert_eq!(ask("http://a/", &[]), Ok(Some(HeaderValue::from_static("a"))));
        assert_eq!(ask("/", &[]), Ok(None));
        assert_eq!(ask("http://a/", &[("host", "b")]), Err(BadHead::TwoAuthorities));
        assert_eq!(ask("/", &[("host", "a/b")]), Err(BadHead::Authority));
        assert_eq!(ask("/", &[("host", "u@a")]), Err(BadHead::Authority));
    }

    #[test]
    fn what_belongs_to_one_hop_goes_and_the_rest_stays() {
        let mut map = headers(&[
            ("connection", "keep-alive, X-Hop, host"),
            ("x-hop", "1"),
            ("host", "a"),
            ("keep-alive", "5"),
            ("te", "gzip, trailers"),
            ("x-end", "1"),
            ("upgrade", "h2c"),
        ]);
        assert_eq!(upgrade(&map), None);
        map.insert(MISSED, MISSED_CONNECT);
        strip_hop(&mut map);
        assert!(!map.contains_key(MISSED));
        let mut left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "te", "x-end"]);
        assert_eq!(map["te"], "trailers");
    }

    #[test]
    fn a_request_id_is_a_version_4_uuid() {
        let id = request_id(u64::MAX, 0);
        assert_eq!(id, "ffffffff-ffff-4fff-8000-000000000000");
    }
}
