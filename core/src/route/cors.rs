//! Cross-origin requests: what is answered, and what is added to answers. As Envoy's CORS filter does it.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::model::{Cors, TextMatch};
use super::pattern::{Pattern, Text};
use super::request::RequestHead;

/// A policy, parsed once.
#[derive(Clone, Debug)]
pub struct CompiledCors {
    origins: Box<[Text]>,
    methods: Option<Names>,
    headers: Option<Names>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
    ignore_unmatched: bool,
    /// Of the Gateway API: preflights name what is exposed too.
    gateway: bool,
}

/// Names that are allowed.
#[derive(Clone, Debug)]
enum Names {
    /// `*`: those that the client asks for.
    Any,
    These(HeaderValue),
}

/// What becomes of a request under a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsDecision {
    /// It is no business of the policy: sent on, the answer unchanged.
    Pass,
    /// A preflight: answered at once with this.
    Answer(StatusCode, HeaderMap),
    /// Sent on; these are set in the answer.
    Decorate(HeaderMap),
}

impl CompiledCors {
    /// An origin that cannot be understood allows nobody. A route of the Gateway API answers every preflight itself.
    pub(super) fn compile(from: &Cors, gateway: bool, warnings: &mut Vec<String>) -> Result<Self, String> {
        let origin = |want: &TextMatch| {
            let compiled = match want {
                TextMatch::Regex(text) => Pattern::parse(text).map(Text::Regex),
                TextMatch::Present => Err("an origin is exact, a prefix, or a regular expression".to_owned()),
                want => Text::compile(want),
            };
            compiled.map_err(|error| warnings.push(format!("{error}: it allows no origin"))).ok()
        };
        let origins = from.allow_origins.iter().filter_map(origin).collect();
        let expose = match names(&from.expose_headers)? {
            Some(Names::These(value)) => Some(value),
            // With credentials the asterisk would be a name.
            Some(Names::Any) if !from.allow_credentials => Some(HeaderValue::from_static("*")),
            _ => None,
        };
        Ok(Self {
            origins,
            methods: names(&from.allow_methods)?,
            headers: names(&from.allow_headers)?,
            expose,
            max_age: from.max_age.map(|age| HeaderValue::from(age.as_secs())),
            credentials: from.allow_credentials,
            ignore_unmatched: from.ignore_unmatched_preflights || gateway,
            gateway,
        })
    }

    /// Judges a request.
    pub fn decide(&self, head: &RequestHead<'_>) -> CorsDecision {
        let Some(origin) = head.headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else {
            return CorsDecision::Pass;
        };
        let asked = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|method| !method.is_empty());
        let preflight = asked.filter(|_| head.method == Method::OPTIONS);
        let allowed = self.origins.iter().any(|want| allows(want, origin.as_bytes()));
        match (preflight, allowed) {
            (Some(method), true) => {
                CorsDecision::Answer(StatusCode::OK, self.preflight(head, origin, method))
            }
            (Some(_), false) if self.ignore_unmatched => {
                CorsDecision::Answer(StatusCode::OK, HeaderMap::new())
            }
            (None, true) => {
                let mut headers = self.granted(origin);
                headers.extend(self.expose.clone().map(|names| (ACCESS_CONTROL_EXPOSE_HEADERS, names)));
                CorsDecision::Decorate(headers)
            }
            (_, false) => CorsDecision::Pass,
        }
    }

    fn granted(&self, origin: &HeaderValue) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        headers
    }

    fn preflight(&self, head: &RequestHead<'_>, origin: &HeaderValue, method: &HeaderValue) -> HeaderMap {
        let mut headers = self.granted(origin);
        let asked = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let answer = |names: &Option<Names>, asked: Option<&HeaderValue>| match names {
            Some(Names::Any) => asked.cloned(),
            Some(Names::These(names)) => Some(names.clone()),
            None => None,
        };
        headers
            .extend(answer(&self.methods, Some(method)).map(|names| (ACCESS_CONTROL_ALLOW_METHODS, names)));
        headers.extend(answer(&self.headers, asked).map(|names| (ACCESS_CONTROL_ALLOW_HEADERS, names)));
        let expose = self.expose.clone().filter(|_| self.gateway);
        headers.extend(expose.map(|names| (ACCESS_CONTROL_EXPOSE_HEADERS, names)));
        headers.extend(self.max_age.clone().map(|age| (ACCESS_CONTROL_MAX_AGE, age)));
        headers
    }
}

fn allows(want: &Text, origin: &[u8]) -> bool {
    matches!(want, Text::Exact(text) if &**text == "*") || want.matches(origin)
}

fn names(from: &[String]) -> Result<Option<Names>, String> {
    let value = |text: String| {
        HeaderValue::from_str(&text).map_err(|_invalid| format!("{text:?} cannot stand in a header"))
    };
    Ok(match from {
        [] => None,
        [only] if only == "*" => Some(Names::Any),
        many => Some(Names::These(value(many.join(","))?)),
    })
}
