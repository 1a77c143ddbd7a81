//! Access log formats: Envoy's command operators, parsed once, and the lines that they make.
//!
//! ```text
//! "[%START_TIME%] %REQ(X?Y):9%…" ─► parse ─► Format ─┬─► wanted headers, captured as they pass
//!                                                    └─► render(Entry) ─► text or JSON
//! ```
//! Source: Envoy "Access logging"; the default formats are Istio's.

mod operator;
mod render;
mod stamp;

use http::HeaderName;
use serde_json::{Map, Value};

pub use operator::BadFormat;
use operator::{Piece, parse};
pub use render::Entry;

/// Istio's default `accessLogFormat`.
pub const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
    \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
    \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% \
    %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// Istio's default for `accessLogEncoding: JSON`.
const DEFAULT_JSON: [(&str, &str); 24] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

/// A format, ready for use.
#[derive(Clone, Debug)]
pub struct Format {
    shape: Shape,
    /// Which headers it shows.
    pub wanted: Wanted,
}

#[derive(Clone, Debug)]
enum Shape {
    Text(Box<[Piece]>),
    /// An object, as a tree.
    Json(Node),
}

#[derive(Clone, Debug)]
enum Node {
    Object(Box<[(String, Node)]>),
    List(Box<[Node]>),
    Text(Box<[Piece]>),
    Value(Value),
}

/// Headers that a format shows and that every record does not have anyway; operators know them by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of requests.
    pub request: Vec<HeaderName>,
    /// Of responses.
    pub response: Vec<HeaderName>,
    /// Of trailers.
    pub trailers: Vec<HeaderName>,
}

impl Format {
    /// What the mesh config says; `None`: Istio's default.
    ///
    /// # Errors
    /// It is no format.
    pub fn new(json: bool, text: Option<&str>) -> Result<Self, BadFormat> {
        let mut wanted = Wanted::default();
        let text = text.filter(|text| !text.trim().is_empty());
        let shape = match (json, text) {
            (false, text) => Shape::Text(parse(text.unwrap_or(DEFAULT), &mut wanted)?),
            (true, None) => {
                let pairs = DEFAULT_JSON.map(|(name, operator)| (name.to_owned(), operator.into()));
                Shape::Json(Node::of(Value::Object(Map::from_iter(pairs)), &mut wanted)?)
            }
            (true, Some(text)) => match serde_json::from_str(text) {
                Ok(value @ Value::Object(_)) => Shape::Json(Node::of(value, &mut wanted)?),
                Ok(_) => return Err(BadFormat("accessLogFormat is not a JSON object".into())),
                Err(error) => return Err(BadFormat(format!("accessLogFormat is not JSON: {error}"))),
            },
        };
        Ok(Self { shape, wanted })
    }

    /// Appends a line.
    pub fn render(&self, entry: &Entry<'_>, line: &mut String) {
        match &self.shape {
            Shape::Text(pieces) => render::text(pieces, entry, line),
            Shape::Json(node) => line.push_str(&node.value(entry).to_string()),
        }
        if !line.ends_with('\n') {
            line.push('\n');
        }
    }
}

impl Default for Format {
    fn default() -> Self {
        // The default parses: a test holds it to that.
        Self::new(false, None)
            .unwrap_or(Self { shape: Shape::Text(Box::default()), wanted: Wanted::default() })
    }
}

impl Node {
    /// Keys come in their order, as Envoy sorts them.
    fn of(value: Value, wanted: &mut Wanted) -> Result<Self, BadFormat> {
        Ok(match value {
            Value::Object(map) => {
                let mut fields: Vec<(String, Value)> = map.into_iter().collect();
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                let of = |(name, value)| Ok((name, Self::of(value, wanted)?));
                Self::Object(fields.into_iter().map(of).collect::<Result<_, BadFormat>>()?)
            }
            Value::Array(list) => {
                Self::List(list.into_iter().map(|value| Self::of(value, wanted)).collect::<Result<_, _>>()?)
            }
            Value::String(text) => Self::Text(parse(&text, wanted)?),
            other => Self::Value(other),
        })
    }

    fn value(&self, entry: &Entry<'_>) -> Value {
        match self {
            Self::Object(fields) => fields
                .iter()
                .map(|(name, node)| (name.clone(), node.value(entry)))
                .collect::<Map<_, _>>()
                .into(),
            Self::List(list) => list.iter().map(|node| node.value(entry)).collect(),
            Self::Text(pieces) => render::json(pieces, entry),
            Self::Value(value) => value.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
