//! The values of a line. What peers wrote is escaped, so that it can forge neither a line nor, inside quotes, a field.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use heddle_core::identity::Identity;
use http::{HeaderValue, Version};
use serde_json::{Value, json};

use super::operator::{Answered, Header, Operator, Piece, Simple};
use super::stamp;
use crate::http::RequestRecord;

/// What a line says.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// When the connection was accepted, or the request came.
    pub started: SystemTime,
    /// `-`, or Envoy's flags.
    pub flags: Cow<'a, str>,
    /// Why the connection ended, if we ended it.
    pub termination: Option<&'a str>,
    /// Why the upstream's transport failed, if it did.
    pub transport_failure: Option<&'a str>,
    /// From the client: of a connection, or of a request's body.
    pub received: u64,
    /// To the client.
    pub sent: u64,
    /// How long it lived.
    pub duration: Duration,
    /// The endpoint that was dialled.
    pub upstream: Option<SocketAddr>,
    /// Our end of that.
    pub upstream_local: Option<SocketAddr>,
    /// `outbound|80||web.default.svc.cluster.local`, `inbound|80||`, `PassthroughCluster`.
    pub cluster: Option<&'a str>,
    /// The address that the client had dialled.
    pub downstream_local: Option<SocketAddr>,
    /// The client.
    pub downstream_remote: Option<SocketAddr>,
    /// The client's proven identity.
    pub peer: Option<&'a Identity>,
    /// Our own identity towards the client.
    pub own: Option<&'a Identity>,
    /// How often an upstream was tried.
    pub attempts: u32,
    /// The route's name.
    pub route: Option<&'a str>,
    /// Of a request.
    pub http: Option<&'a RequestRecord>,
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            started: SystemTime::UNIX_EPOCH,
            flags: "-".into(),
            termination: None,
            transport_failure: None,
            received: 0,
            sent: 0,
            duration: Duration::ZERO,
            upstream: None,
            upstream_local: None,
            cluster: None,
            downstream_local: None,
            downstream_remote: None,
            peer: None,
            own: None,
            attempts: 0,
            route: None,
            http: None,
        }
    }
}

/// A value before it is text.
enum Shown<'a> {
    Nothing,
    /// Nothing, and JSON says `-` too.
    Dash,
    Number(u64),
    /// Ours.
    Text(Cow<'a, str>),
    /// A peer's, or made of one's.
    Foreign(Cow<'a, str>),
}

pub(super) fn text(pieces: &[Piece], entry: &Entry<'_>, line: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => line.push_str(text),
            Piece::Operator(operator, most) => push(&shown(operator, entry), *most, line),
        }
    }
}

/// One operator by itself keeps its kind: numbers are numbers, and what is not there is null.
pub(super) fn json(pieces: &[Piece], entry: &Entry<'_>) -> Value {
    let [Piece::Operator(operator, most)] = pieces else {
        let mut line = String::new();
        text(pieces, entry, &mut line);
        return line.into();
    };
    match shown(operator, entry) {
        Shown::Nothing => Value::Null,
        Shown::Number(number) => json!(number),
        Shown::Text(text) | Shown::Foreign(text) => cut(&text, *most).into(),
        Shown::Dash => "-".into(),
    }
}

fn cut(text: &str, most: Option<usize>) -> String {
    match most {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    }
}

fn push(shown: &Shown<'_>, most: Option<usize>, line: &mut String) {
    match shown {
        Shown::Nothing | Shown::Dash => line.push('-'),
        Shown::Text(text) if most.is_none() => line.push_str(text),
        Shown::Text(text) => line.push_str(&cut(text, most)),
        Shown::Number(number) => {
            // Writing to a String does not fail.
            let _ = write!(line, "{number}");
        }
        Shown::Foreign(text) => {
            for c in text.chars().take(most.unwrap_or(usize::MAX)) {
                match c {
                    '"' | '\\' => line.extend(['\\', c]),
                    c if c.is_control() => line.extend(c.escape_default()),
                    c => line.push(c),
                }
            }
        }
    }
}

fn shown<'a>(operator: &Operator, entry: &Entry<'a>) -> Shown<'a> {
    let http = entry.http;
    match operator {
        Operator::StartTime(pattern) => {
            let mut text = String::with_capacity(24);
            match pattern {
                Some(pattern) => stamp::format(pattern, entry.started, &mut text),
                None => stamp::default(entry.started, &mut text),
            }
            Shown::Text(text.into())
        }
        Operator::Request(first, second) => request(http, *first, *second, false),
        Operator::RequestWithoutQuery(first, second) => request(http, *first, *second, true),
        Operator::Response(first, second) => {
            let of = |header: Answered| response(http?, header);
            of(*first).or_else(|| second.and_then(of)).map_or(Shown::Nothing, Shown::Foreign)
        }
        Operator::Trailer(first, second) => {
            let of = |index: usize| value(http?.captured.trailers.get(index)?.as_ref());
            of(*first).or_else(|| second.and_then(of)).map_or(Shown::Nothing, Shown::Foreign)
        }
        Operator::GrpcStatusNumber => number(http.and_then(|http| http.grpc_status)),
        Operator::GrpcStatus => match http.and_then(|http| http.grpc_status) {
            Some(status) => Shown::Text(grpc_name(status)),
            None => Shown::Nothing,
        },
        Operator::Simple(name) => simple(*name, entry),
        Operator::Unset => Shown::Nothing,
    }
}

fn request(http: Option<&RequestRecord>, first: Header, second: Option<Header>, bare: bool) -> Shown<'_> {
    let Some(http) = http else { return Shown::Nothing };
    let of = |header| match header {
        Header::Method => Some(http.method.as_str().into()),
        Header::Path => http.uri.path_and_query().map(|path| path.as_str().into()),
        // A rewritten path is logged as it came.
        Header::OriginalPath => None,
        Header::Authority => match &http.authority {
            Some(authority) => value(Some(authority)),
            None => http.uri.authority().map(|authority| authority.as_str().into()),
        },
        Header::Scheme => Some("http".into()),
        Header::UserAgent => value(http.user_agent.as_ref()),
        Header::ForwardedFor => value(http.forwarded_for.as_ref()),
        Header::RequestId => value(http.request_id.as_ref()),
        Header::Captured(index) => value(http.captured.request.get(index)?.as_ref()),
    };
    let present = |text: &Cow<'_, str>| !text.is_empty();
    let found: Option<Cow<'_, str>> =
        of(first).filter(present).or_else(|| second.and_then(of).filter(present));
    match found {
        Some(Cow::Borrowed(text)) if bare => Shown::Foreign(text.split('?').next().unwrap_or(text).into()),
        Some(text) => Shown::Foreign(text),
        None => Shown::Nothing,
    }
}

fn response(http: &RequestRecord, header: Answered) -> Option<Cow<'_, str>> {
    match header {
        Answered::ServiceTime => http.upstream_time.map(|time| time.as_millis().to_string().into()),
        Answered::Captured(index) => value(http.captured.response.get(index)?.as_ref()),
    }
}

fn value(value: Option<&HeaderValue>) -> Option<Cow<'_, str>> {
    value.map(|value| String::from_utf8_lossy(value.as_bytes())).filter(|text| !text.is_empty())
}

fn simple<'a>(name: Simple, entry: &Entry<'a>) -> Shown<'a> {
    let http = entry.http;
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let after = |duration: Option<Duration>| number(duration.map(millis));
    match name {
        Simple::Protocol => http.map_or(Shown::Nothing, |http| Shown::Text(protocol(http.version).into())),
        Simple::ResponseCode => Shown::Number(http.map_or(0, |http| http.code.into())),
        Simple::ResponseCodeDetails => word(http.map(details)),
        Simple::ConnectionTerminationDetails => word(entry.termination),
        Simple::ResponseFlags if entry.flags == "-" => Shown::Dash,
        Simple::ResponseFlags => Shown::Text(entry.flags.clone()),
        Simple::UpstreamTransportFailureReason => {
            entry.transport_failure.map_or(Shown::Nothing, |text| Shown::Foreign(text.into()))
        }
        Simple::BytesReceived => Shown::Number(entry.received),
        Simple::BytesSent => Shown::Number(entry.sent),
        Simple::Duration => Shown::Number(millis(entry.duration)),
        Simple::ResponseDuration => after(http.and_then(|http| http.upstream_time)),
        Simple::UpstreamHost => address(entry.upstream),
        Simple::UpstreamHostWithoutPort => ip(entry.upstream),
        Simple::UpstreamPort => port(entry.upstream),
        Simple::UpstreamCluster => entry
            .cluster
            .filter(|text| !text.is_empty())
            .map_or(Shown::Nothing, |text| Shown::Foreign(text.into())),
        Simple::UpstreamLocalAddress => address(entry.upstream_local),
        Simple::UpstreamLocalAddressWithoutPort => ip(entry.upstream_local),
        Simple::UpstreamLocalPort => port(entry.upstream_local),
        Simple::UpstreamAttempts => Shown::Number(entry.attempts.into()),
        Simple::DownstreamLocalAddress => address(entry.downstream_local),
        Simple::DownstreamLocalAddressWithoutPort => ip(entry.downstream_local),
        Simple::DownstreamLocalPort => port(entry.downstream_local),
        Simple::DownstreamRemoteAddress => address(entry.downstream_remote),
        Simple::DownstreamRemoteAddressWithoutPort => ip(entry.downstream_remote),
        Simple::DownstreamRemotePort => port(entry.downstream_remote),
        Simple::DownstreamPeerUriSan => identity(entry.peer),
        Simple::DownstreamLocalUriSan => identity(entry.own),
        Simple::RouteName => word(entry.route),
        Simple::RequestedServerName => word(http.and_then(|http| http.server_name.as_deref())),
    }
}

fn details(http: &RequestRecord) -> &str {
    match &http.rbac {
        Some(denial) => denial,
        None if http.details == "-" => "",
        None => http.details,
    }
}

fn number(value: Option<impl Into<u64>>) -> Shown<'static> {
    value.map_or(Shown::Nothing, |value| Shown::Number(value.into()))
}

/// Blanks become underscores, so that it stays one field.
fn word(text: Option<&str>) -> Shown<'_> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if text.contains(' ') => Shown::Foreign(text.replace(' ', "_").into()),
        Some(text) => Shown::Foreign(text.into()),
        None => Shown::Nothing,
    }
}

fn identity(identity: Option<&Identity>) -> Shown<'static> {
    identity.map_or(Shown::Nothing, |identity| Shown::Text(identity.to_string().into()))
}

fn address(address: Option<SocketAddr>) -> Shown<'static> {
    address.map_or(Shown::Nothing, |address| Shown::Text(address.to_string().into()))
}

fn ip(address: Option<SocketAddr>) -> Shown<'static> {
    address.map_or(Shown::Nothing, |address| Shown::Text(address.ip().to_string().into()))
}

fn port(address: Option<SocketAddr>) -> Shown<'static> {
    number(address.map(|address| address.port()))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Envoy's camel case.
fn grpc_name(status: u32) -> Cow<'static, str> {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    match NAMES.get(status as usize) {
        Some(name) => (*name).into(),
        None => status.to_string().into(),
    }
}
