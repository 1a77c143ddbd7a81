//! What one request was and became: filled while it passes, told to telemetry exactly once.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use heddle_core::workload::Service;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::telemetry::Direction;
use crate::telemetry::tcp::Party;

/// One request, for metrics and the access log. Clones of names and header values share memory.
#[derive(Debug)]
pub struct RequestRecord {
    /// Seen from the pod.
    pub direction: Direction,
    /// When its head had come.
    pub started: (SystemTime, Instant),
    /// Of the request.
    pub method: Method,
    /// As it came: path and query, and the authority of an absolute form or of HTTP/2.
    pub uri: Uri,
    /// `:authority` or `Host`, as it came.
    pub authority: Option<HeaderValue>,
    /// What the client speaks.
    pub version: Version,
    /// `user-agent`.
    pub user_agent: Option<HeaderValue>,
    /// `x-forwarded-for`.
    pub forwarded_for: Option<HeaderValue>,
    /// `x-request-id`, made where it lacked.
    pub request_id: Option<HeaderValue>,
    /// Whether it is gRPC, by its content type.
    pub grpc: bool,
    /// Status of the response; 0: there was none.
    pub code: u16,
    /// `grpc-status` of the response, from its head or its trailers.
    pub grpc_status: Option<u32>,
    /// Everything that went wrong.
    pub flags: Flags,
    /// Envoy's `RESPONSE_CODE_DETAILS`.
    pub details: &'static str,
    /// The same of a denial by policy, which names the rule.
    pub rbac: Option<Box<str>>,
    /// Envoy's `UPSTREAM_TRANSPORT_FAILURE_REASON`, and why a connection failed.
    pub upstream_failure: Option<Box<str>>,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// From the first byte sent upstream to the head of its response (`x-envoy-upstream-service-time`).
    pub upstream_time: Option<Duration>,
    /// The endpoint that answered, or was tried last.
    pub upstream: Option<SocketAddr>,
    /// Our end of the connection to it.
    pub upstream_local: Option<SocketAddr>,
    /// Envoy's name of the cluster.
    pub cluster: Option<Arc<str>>,
    /// What the client had dialled.
    pub downstream_local: Option<SocketAddr>,
    /// The client.
    pub downstream_remote: Option<SocketAddr>,
    /// Server name of the client's TLS, where there was one.
    pub server_name: Option<Arc<str>>,
    /// The rule; `default` where none has a name.
    pub route: Option<Arc<str>>,
    /// How often it was sent.
    pub attempts: u32,
    /// Who asked.
    pub source: Party,
    /// Who answered.
    pub destination: Party,
    /// The service.
    pub service: Option<Arc<Service>>,
    /// Whether mTLS carried it.
    pub mutual_tls: bool,
    /// Headers that a custom access log format shows.
    pub captured: Captured,
}

/// Values of the headers that the access log's format shows besides, in its order.
#[derive(Debug, Default)]
pub struct Captured {
    /// Of the request.
    pub request: Box<[Option<HeaderValue>]>,
    /// Of the response.
    pub response: Box<[Option<HeaderValue>]>,
    /// Of the response's trailers.
    pub trailers: Box<[Option<HeaderValue>]>,
}

impl RequestRecord {
    /// A request whose head has just come.
    pub fn begin(
        direction: Direction,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
    ) -> Self {
        let value = |name: &'static str| headers.get(name).cloned();
        Self {
            direction,
            started: (SystemTime::now(), Instant::now()),
            method: method.clone(),
            uri: uri.clone(),
            authority: headers.get(http::header::HOST).cloned(),
            version,
            user_agent: headers.get(http::header::USER_AGENT).cloned(),
            forwarded_for: value("x-forwarded-for"),
            request_id: value("x-request-id"),
            grpc: is_grpc(headers),
            code: 0,
            grpc_status: None,
            flags: Flags::default(),
            details: "-",
            rbac: None,
            upstream_failure: None,
            received: 0,
            sent: 0,
            upstream_time: None,
            upstream: None,
            upstream_local: None,
            cluster: None,
            downstream_local: None,
            downstream_remote: None,
            server_name: None,
            route: None,
            attempts: 0,
            source: Party::Unknown,
            destination: Party::Unknown,
            service: None,
            mutual_tls: false,
            captured: Captured::default(),
        }
    }
}

/// Whether the content type is gRPC's, as Envoy decides it: `application/grpc`, alone or followed by `+` or `;`.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(http::header::CONTENT_TYPE) else { return false };
    let Some(rest) = value.as_bytes().strip_prefix(b"application/grpc") else { return false };
    rest.first().is_none_or(|byte| matches!(byte, b'+' | b';'))
}

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)+) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)+

            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $text),)+];
        }
    };
}

/// Envoy's response flags, a set of them. Displayed as the access log has them, in Envoy's order: `UH`, `UF,URX`, `-`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

flags! {
    /// No healthy upstream.
    UH = 0, "UH";
    /// The upstream took too long.
    UT = 1, "UT";
    /// We reset the stream.
    LR = 2, "LR";
    /// The upstream reset the stream.
    UR = 3, "UR";
    /// The connection to the upstream failed.
    UF = 4, "UF";
    /// The connection to the upstream was cut.
    UC = 5, "UC";
    /// Overflow: a circuit breaker.
    UO = 6, "UO";
    /// No route.
    NR = 7, "NR";
    /// A delay was injected.
    DI = 8, "DI";
    /// A fault was injected.
    FI = 9, "FI";
    /// Refused by a policy.
    UAEX = 10, "UAEX";
    /// The client went away.
    DC = 11, "DC";
    /// Repeated as often as may be, in vain.
    URX = 12, "URX";
    /// Nothing passed for too long.
    SI = 13, "SI";
    /// The client broke its protocol.
    DPE = 14, "DPE";
    /// The whole request took too long.
    DT = 15, "DT";
    /// The upstream broke its protocol.
    UPE = 16, "UPE";
    /// No cluster.
    NC = 17, "NC";
    /// Cut by the agent's drain.
    DR = 18, "DR";
}

impl Flags {
    /// Adds to the set.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all of these are in the set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As metrics and the access log have them; without an allocation for none or one.
    pub fn text(self) -> std::borrow::Cow<'static, str> {
        if self.0 == 0 {
            return "-".into();
        }
        match Self::NAMES.iter().find(|(flag, _)| *flag == self) {
            Some((_, name)) => (*name).into(),
            None => self.to_string().into(),
        }
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("-");
        }
        let mut first = true;
        for (_, name) in Self::NAMES.iter().filter(|(flag, _)| self.has(*flag)) {
            if !std::mem::take(&mut first) {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
