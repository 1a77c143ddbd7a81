//! Answers of the stage itself, as Envoy words them.

use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::body::Body;
use super::record::Flags;

/// An answer without an upstream.
#[derive(Debug)]
pub struct Local {
    /// Its status.
    pub status: StatusCode,
    /// What went wrong.
    pub flags: Flags,
    /// Envoy's `RESPONSE_CODE_DETAILS`.
    pub details: &'static str,
    /// Its body.
    pub body: bytes::Bytes,
    /// Headers besides.
    pub headers: HeaderMap,
    /// gRPC status, where it is not the one that stands for the HTTP status.
    pub grpc: Option<u16>,
    /// The connection ends with it.
    pub close: bool,
}

impl Local {
    /// An answer that says what went wrong.
    pub fn new(status: StatusCode, flags: Flags, details: &'static str, body: &'static str) -> Self {
        Self {
            status,
            flags,
            details,
            body: bytes::Bytes::from_static(body.as_bytes()),
            headers: HeaderMap::new(),
            grpc: None,
            close: false,
        }
    }

    /// No rule matched.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, Flags::NR, "route_not_found", "")
    }

    /// The request is not one.
    pub fn bad_request(details: &'static str) -> Self {
        let bad = Self::new(StatusCode::BAD_REQUEST, Flags::DPE, details, "Bad Request");
        Self { close: true, ..bad }
    }

    /// 503.
    pub fn unavailable(flags: Flags, details: &'static str, body: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, flags, details, body)
    }

    /// The answer; to a gRPC request the one that gRPC clients understand (Envoy: `sendLocalReply`).
    pub fn into_response(self, grpc: bool) -> Response<Body> {
        if grpc && !self.status.is_redirection() {
            return self.into_grpc();
        }
        let mut response = Response::new(Body::full(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let headers = response.headers_mut();
        if !self.body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        finish(headers, self.close);
        response
    }

    fn into_grpc(self) -> Response<Body> {
        let status = self.grpc.unwrap_or_else(|| grpc_of(self.status));
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = self.headers;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(status));
        let message = percent_encoded(&self.body);
        if let Ok(message) = HeaderValue::from_str(&message)
            && !message.is_empty()
        {
            headers.insert(HeaderName::from_static("grpc-message"), message);
        }
        finish(headers, self.close);
        response
    }
}

fn finish(headers: &mut HeaderMap, close: bool) {
    headers.insert(DATE, super::date::now());
    if close {
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// gRPC's own table (`http-grpc-status-mapping`), which Envoy uses.
fn grpc_of(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// gRPC over HTTP/2, "Percent-Encoded".
fn percent_encoded(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => drop(write!(text, "%{byte:02X}")),
            byte => text.push(char::from(*byte)),
        }
    }
    text
}
