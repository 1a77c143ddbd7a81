//! What a rule does to requests and answers beside sending them on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BackendRef, TextMatch};

/// When a request is sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retries {
    /// Beyond the first; 0: none.
    pub attempts: u32,
    /// Deadline of each try.
    pub per_try_timeout: Option<Duration>,
    /// Envoy's conditions and status codes, by comma; empty: the default of the mesh.
    pub retry_on: String,
    /// Least pause before the first repetition; doubled each time, jittered. `None`: 25 ms.
    pub backoff: Option<Duration>,
    /// Gateway API: no pause is shorter.
    pub least_backoff: Option<Duration>,
    /// Whether repetitions leave the priorities that were tried; `None`: no.
    pub remote_localities: Option<bool>,
    /// Whether endpoints that were tried already are passed over; `None`: unless requests are spread by a hash.
    pub ignore_previous_hosts: Option<bool>,
}

/// Faults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// A pause before the request is sent on.
    pub delay: Option<(Share, Duration)>,
    /// An answer instead.
    pub abort: Option<(Share, Abort)>,
}

/// What is answered instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Abort {
    /// This status.
    Http(u16),
    /// This gRPC status, by number.
    Grpc(u16),
}

/// A part of all requests, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Share(pub u32);

impl Share {
    /// Every request.
    pub const ALL: Self = Self(1_000_000);

    /// Whether a request falls into it, by a random number of its own.
    pub fn hits(self, random: u64) -> bool {
        random % 1_000_000 < u64::from(self.0)
    }
}

/// A copy of the request to somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirror {
    /// Where.
    pub to: BackendRef,
    /// Of which requests.
    pub share: Share,
}

/// Cross-origin resource sharing (the Fetch standard).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cors {
    /// Origins that may; Gateway API's `*` and `https://*.example.com` come as regular expressions.
    pub allow_origins: Vec<TextMatch>,
    /// `Access-Control-Allow-Methods`.
    pub allow_methods: Vec<String>,
    /// `Access-Control-Allow-Headers`.
    pub allow_headers: Vec<String>,
    /// `Access-Control-Expose-Headers`.
    pub expose_headers: Vec<String>,
    /// `Access-Control-Max-Age`.
    pub max_age: Option<Duration>,
    /// `Access-Control-Allow-Credentials: true`.
    pub allow_credentials: bool,
    /// Istio `unmatchedPreflights: IGNORE`: a preflight of no allowed origin is answered here instead of forwarded.
    pub ignore_unmatched_preflights: bool,
}

/// Changes of headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderChanges {
    /// Of the request.
    pub request: HeaderChange,
    /// Of the response.
    pub response: HeaderChange,
}

/// Changes of one set of headers: removed first, then set, then added, as Envoy does. `host` sets the authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderChange {
    /// Overwrites.
    pub set: Vec<(String, String)>,
    /// Appends a value.
    pub add: Vec<(String, String)>,
    /// Takes away.
    pub remove: Vec<String>,
}
