//! Parses format strings.

use http::HeaderName;

use super::Wanted;

/// Why a text is no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadFormat(pub String);

/// Part of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// As written.
    Text(String),
    /// Replaced.
    Operator(Operator, Option<usize>),
}

/// A value of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    StartTime(Option<String>),
    Request(Header, Option<Header>),
    /// The same without what follows a question mark.
    RequestWithoutQuery(Header, Option<Header>),
    Response(Answered, Option<Answered>),
    Trailer(usize, Option<usize>),
    GrpcStatus,
    GrpcStatusNumber,
    Simple(Simple),
    /// Known to Envoy, and never set here.
    Unset,
}

/// A header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    Method,
    Path,
    OriginalPath,
    Authority,
    Scheme,
    UserAgent,
    ForwardedFor,
    RequestId,
    Captured(usize),
}

/// A header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    ServiceTime,
    Captured(usize),
}

macro_rules! names {
    ($($variant:ident = $($text:literal)|+;)+) => {
        /// An operator without arguments.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Simple { $($variant,)+ }

        impl Simple {
            fn of(text: &str) -> Option<Self> {
                match text { $($($text)|+ => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

names! {
    Protocol = "PROTOCOL";
    ResponseCode = "RESPONSE_CODE";
    ResponseCodeDetails = "RESPONSE_CODE_DETAILS";
    ConnectionTerminationDetails = "CONNECTION_TERMINATION_DETAILS";
    ResponseFlags = "RESPONSE_FLAGS";
    UpstreamTransportFailureReason = "UPSTREAM_TRANSPORT_FAILURE_REASON";
    BytesReceived = "BYTES_RECEIVED";
    BytesSent = "BYTES_SENT";
    Duration = "DURATION";
    ResponseDuration = "RESPONSE_DURATION";
    UpstreamHost = "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS";
    UpstreamHostWithoutPort = "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT";
    UpstreamPort = "UPSTREAM_REMOTE_PORT";
    UpstreamCluster = "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW";
    UpstreamLocalAddress = "UPSTREAM_LOCAL_ADDRESS";
    UpstreamLocalAddressWithoutPort = "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT";
    UpstreamLocalPort = "UPSTREAM_LOCAL_PORT";
    UpstreamAttempts = "UPSTREAM_REQUEST_ATTEMPT_COUNT";
    DownstreamLocalAddress = "DOWNSTREAM_LOCAL_ADDRESS" | "DOWNSTREAM_DIRECT_LOCAL_ADDRESS";
    DownstreamLocalAddressWithoutPort = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT";
    DownstreamLocalPort = "DOWNSTREAM_LOCAL_PORT" | "DOWNSTREAM_DIRECT_LOCAL_PORT";
    DownstreamRemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS";
    DownstreamRemoteAddressWithoutPort =
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT";
    DownstreamRemotePort = "DOWNSTREAM_REMOTE_PORT" | "DOWNSTREAM_DIRECT_REMOTE_PORT";
    DownstreamPeerUriSan = "DOWNSTREAM_PEER_URI_SAN";
    DownstreamLocalUriSan = "DOWNSTREAM_LOCAL_URI_SAN";
    RouteName = "ROUTE_NAME";
    RequestedServerName = "REQUESTED_SERVER_NAME";
}

/// Operators of Envoy that speak of what this proxy does not have.
const UNSET: &[&str] = &[
    "VIRTUAL_CLUSTER_NAME",
    "CONNECTION_ID",
    "STREAM_ID",
    "HOSTNAME",
    "FILTER_CHAIN_NAME",
    "ACCESS_LOG_TYPE",
    "TRACE_ID",
    "SPAN_ID",
    "UPSTREAM_PROTOCOL",
    "REQUEST_DURATION",
    "REQUEST_TX_DURATION",
    "RESPONSE_TX_DURATION",
    "UPSTREAM_FILTER_STATE",
    "FILTER_STATE",
    "DYNAMIC_METADATA",
    "CLUSTER_METADATA",
    "UPSTREAM_METADATA",
    "METADATA",
    "CEL",
    "ENVIRONMENT",
    "UNIQUE_ID",
    "LOCAL_REPLY_BODY",
];
/// Whole groups of them.
const UNSET_GROUPS: &[&str] =
    &["DOWNSTREAM_", "UPSTREAM_", "REQUEST_HEADERS_", "RESPONSE_HEADERS_", "RESPONSE_TRAILERS_"];

/// Parses a text; `%%` is a percent sign.
pub(super) fn parse(text: &str, wanted: &mut Wanted) -> Result<Box<[Piece]>, BadFormat> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            plain.push('%');
            rest = after;
            continue;
        }
        let (operator, after) = split_operator(after)?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(piece(operator, wanted)?);
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces.into())
}

/// Up to the closing `%`, which is not one inside parentheses.
fn split_operator(text: &str) -> Result<(&str, &str), BadFormat> {
    let mut inside = false;
    for (at, c) in text.char_indices() {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            '%' if !inside => return Ok((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    Err(BadFormat(format!("operator \"%{text}\" does not end")))
}

/// `NAME`, `NAME(ARGUMENT)`, `NAME(ARGUMENT):LENGTH` or `NAME:LENGTH`.
fn piece(operator: &str, wanted: &mut Wanted) -> Result<Piece, BadFormat> {
    let bad = |why: &str| BadFormat(format!("operator \"%{operator}%\" {why}"));
    let (name, argument, tail) = match operator.split_once('(') {
        Some((name, rest)) => {
            let (argument, tail) = rest.rsplit_once(')').ok_or_else(|| bad("has no closing parenthesis"))?;
            (name, Some(argument), tail)
        }
        None => {
            let (name, _) = operator.split_once(':').unwrap_or((operator, ""));
            (name, None, &operator[name.len()..])
        }
    };
    let most = match tail.strip_prefix(':') {
        Some(length) => Some(length.parse().map_err(|_error| bad("has a length that is no number"))?),
        None if tail.is_empty() => None,
        None => return Err(bad("has something behind its parentheses")),
    };
    let alternatives = |argument: Option<&str>| -> Result<(String, Option<String>), BadFormat> {
        let argument = argument.filter(|text| !text.is_empty()).ok_or_else(|| bad("names no header"))?;
        Ok(match argument.split_once('?') {
            Some((first, second)) => (first.to_ascii_lowercase(), Some(second.to_ascii_lowercase())),
            None => (argument.to_ascii_lowercase(), None),
        })
    };
    let operator = match name {
        "START_TIME" => Operator::StartTime(argument.filter(|text| !text.is_empty()).map(str::to_owned)),
        "REQ" | "REQ_WITHOUT_QUERY" => {
            let (first, second) = alternatives(argument)?;
            let mut header = |name: &str| request_header(name, wanted).ok_or_else(|| bad("names no header"));
            let (first, second) = (header(&first)?, second.as_deref().map(header).transpose()?);
            match name {
                "REQ" => Operator::Request(first, second),
                _ => Operator::RequestWithoutQuery(first, second),
            }
        }
        "RESP" => {
            let (first, second) = alternatives(argument)?;
            let mut header = |name: &str| response_header(name, wanted).ok_or_else(|| bad("names no header"));
            Operator::Response(header(&first)?, second.as_deref().map(header).transpose()?)
        }
        "TRAILER" => {
            let (first, second) = alternatives(argument)?;
            let mut header =
                |name: &str| index(name, &mut wanted.trailers).ok_or_else(|| bad("names no header"));
            Operator::Trailer(header(&first)?, second.as_deref().map(header).transpose()?)
        }
        "GRPC_STATUS" if argument == Some("NUMBER") => Operator::GrpcStatusNumber,
        "GRPC_STATUS" => Operator::GrpcStatus,
        "GRPC_STATUS_NUMBER" => Operator::GrpcStatusNumber,
        _ => match Simple::of(name) {
            Some(name) => Operator::Simple(name),
            None if UNSET.contains(&name) || UNSET_GROUPS.iter().any(|group| name.starts_with(group)) => {
                Operator::Unset
            }
            None => return Err(bad("is not known")),
        },
    };
    Ok(Piece::Operator(operator, most))
}

fn request_header(name: &str, wanted: &mut Wanted) -> Option<Header> {
    Some(match name {
        ":method" => Header::Method,
        ":path" => Header::Path,
        "x-envoy-original-path" => Header::OriginalPath,
        ":authority" | "host" => Header::Authority,
        ":scheme" => Header::Scheme,
        "user-agent" => Header::UserAgent,
        "x-forwarded-for" => Header::ForwardedFor,
        "x-request-id" => Header::RequestId,
        _ => Header::Captured(index(name, &mut wanted.request)?),
    })
}

fn response_header(name: &str, wanted: &mut Wanted) -> Option<Answered> {
    match name {
        "x-envoy-upstream-service-time" => Some(Answered::ServiceTime),
        _ => index(name, &mut wanted.response).map(Answered::Captured),
    }
}

fn index(name: &str, list: &mut Vec<HeaderName>) -> Option<usize> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    Some(list.iter().position(|known| *known == name).unwrap_or_else(|| {
        list.push(name);
        list.len() - 1
    }))
}
