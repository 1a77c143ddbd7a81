//! Routing rules as people mean them: what VirtualService, HTTPRoute and GRPCRoute have in common.
//!
//! Sources: Istio API `networking/v1/virtual_service.proto`; Gateway API `HTTPRoute`, `GRPCRoute` v1.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::object::{ExportTo, Labels, ObjectRef};

mod effects;

pub use effects::{Abort, Cors, Fault, HeaderChange, HeaderChanges, Mirror, Retries, Share};

/// One routing object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteObject {
    /// Where it came from.
    pub source: ObjectRef,
    /// `metadata.creationTimestamp`, seconds since 1970; of equals the older wins, then the lesser `namespace/name`.
    pub created: i64,
    /// What traffic it speaks for.
    pub attach: Attach,
    /// HTTP rules, in the order of the object.
    pub http: Vec<HttpRule>,
    /// VirtualService `tls`.
    pub tls: Vec<TlsRule>,
    /// VirtualService `tcp`.
    pub tcp: Vec<TcpRule>,
}

/// What traffic an object speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Attach {
    /// VirtualService: hosts, fully qualified, `*` or `*.suffix` among them. First match within, in order.
    Hosts {
        /// At least one.
        hosts: Vec<String>,
        /// Who sees it.
        export_to: ExportTo,
    },
    /// VirtualService without hosts: only others delegate to it.
    Delegate {
        /// Whose objects may delegate to it.
        export_to: ExportTo,
    },
    /// Gateway API: Services among its accepted parents. Of several routes the most specific match wins.
    Services(Vec<ServiceParent>),
}

/// A Service that a Gateway API route is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceParent {
    /// Namespace of the Service.
    pub namespace: String,
    /// `<name>.<namespace>.svc.<cluster domain>`.
    pub hostname: String,
    /// One port, or all.
    pub port: Option<u16>,
    /// The route lives in another namespace than the Service: it counts for clients of its own namespace only.
    pub consumer: bool,
}

/// One HTTP rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRule {
    /// As written; empty where it has none.
    pub name: String,
    /// OR-ed; none matches every request.
    pub matches: Vec<HttpMatch>,
    /// What is done.
    pub action: HttpAction,
    /// Of the request, before it is sent on.
    pub rewrite: Option<Rewrite>,
    /// Until the whole response has arrived (Istio `timeout`, Gateway `timeouts.request`); zero: none.
    pub timeout: Option<Duration>,
    /// `None`: the default of the mesh.
    pub retries: Option<Retries>,
    /// Faults to inject.
    pub fault: Option<Fault>,
    /// Copies to send, whose answers nobody reads.
    pub mirrors: Vec<Mirror>,
    /// Cross-origin requests.
    pub cors: Option<Cors>,
    /// Changes of headers, for the whole rule.
    pub headers: HeaderChanges,
    /// Where this is not `None` the object is not to be trusted with the request: it is answered 500 (Gateway API:
    /// a filter that is not known or cannot be resolved), and this says why.
    pub broken: Option<String>,
}

/// Conditions of one match; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpMatch {
    /// As written; empty where it has none.
    pub name: String,
    /// The canonical path, without the query.
    pub path: Option<PathMatch>,
    /// VirtualService `ignoreUriCase`.
    pub ignore_case: bool,
    /// `http` or `https`.
    pub scheme: Option<TextMatch>,
    /// The method.
    pub method: Option<TextMatch>,
    /// `:authority` or `Host`.
    pub authority: Option<TextMatch>,
    /// Request headers.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters; of one that comes several times, the first counts.
    pub query: Vec<QueryMatch>,
    /// The port that the client dialled.
    pub port: Option<u16>,
    /// Labels of the client's pod.
    pub source_labels: Labels,
    /// Namespace of the client's pod.
    pub source_namespace: Option<String>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Istio: the first bytes.
    Prefix(String),
    /// Gateway API: whole elements, a trailing slash ignored.
    Elements(String),
    /// RE2 syntax, the whole path.
    Regex(String),
}

/// A condition on a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TextMatch {
    /// The whole text.
    Exact(String),
    /// The first bytes.
    Prefix(String),
    /// RE2 syntax, the whole text.
    Regex(String),
    /// It is there.
    Present,
}

/// A condition on a request header; several of one name are joined by a comma, as Envoy has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: String,
    /// What it must be.
    pub value: TextMatch,
    /// VirtualService `withoutHeaders`: it must not be; an absent one is not.
    pub not: bool,
}

/// A condition on a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueryMatch {
    /// Its name.
    pub name: String,
    /// What it must be.
    pub value: TextMatch,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpAction {
    /// Sends it on; no backend, or a weight sum of 0, is answered 500 (Gateway API) or 503 (VirtualService).
    Forward(Vec<Backend>),
    /// Answers with another place.
    Redirect(Redirect),
    /// Answers at once.
    Respond(DirectResponse),
    /// Hands over to the rules of a VirtualService without hosts.
    Delegate {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Default for HttpAction {
    fn default() -> Self {
        Self::Forward(Vec::new())
    }
}

/// One place that requests go to, with its share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// Where.
    pub to: BackendRef,
    /// Its share among the weights of the rule.
    pub weight: u32,
    /// Changes of headers, for this backend.
    pub headers: HeaderChanges,
    /// Gateway API: filters of this backend.
    pub rewrite: Option<Rewrite>,
    /// Gateway API: copies for requests of this backend.
    pub mirrors: Vec<Mirror>,
    /// Gateway API: requests of this backend are answered with another place.
    pub redirect: Option<Redirect>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendRef {
    /// A host of the registry.
    Host(HostRef),
    /// Not there, not allowed, of an unknown kind: its share is answered 500, and this says why.
    Invalid(String),
}

/// A host of the registry, a port and a subset of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostRef {
    /// Fully qualified.
    pub host: String,
    /// `None`: the one port that the host has, else the one that the client dialled.
    pub port: Option<u16>,
    /// Of the host's DestinationRule.
    pub subset: Option<String>,
}

/// Another path or authority for the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rewrite {
    /// The new path.
    pub path: Option<PathRewrite>,
    /// The new authority.
    pub authority: Option<String>,
}

/// A new path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathRewrite {
    /// VirtualService `rewrite.uri`: replaces what matched: the prefix of a prefix match, else the whole path.
    Matched(String),
    /// Gateway API `ReplaceFullPath`.
    Full(String),
    /// Gateway API `ReplacePrefixMatch`: whole elements.
    Elements(String),
    /// VirtualService `uriRegexRewrite`: every match of the expression, `\1` for its groups.
    Regex {
        /// RE2 syntax.
        pattern: String,
        /// With `\0` to `\9`.
        substitution: String,
    },
}

/// An answer that names another place. Absent parts are those of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// VirtualService `authority` (may carry a port), Gateway API `hostname`.
    pub authority: Option<String>,
    /// The port.
    pub port: RedirectPort,
    /// The path.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// The port of a redirect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RedirectPort {
    /// The well-known one of the scheme where that changes, else the one of the request's authority (Istio
    /// `FROM_PROTOCOL_DEFAULT`; Gateway API where the redirect has a scheme).
    #[default]
    Protocol,
    /// The one that the client dialled (Istio `FROM_REQUEST_PORT`; Gateway API where nothing is said).
    Request,
    /// This one.
    Number(u16),
}

/// An answer without an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: u16,
    /// At most 1 MiB.
    pub body: Vec<u8>,
}

/// A rule for TLS that passes through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsRule {
    /// OR-ed; at least one.
    pub matches: Vec<ConnectionMatch>,
    /// Weighted.
    pub backends: Vec<Backend>,
}

/// A rule for opaque connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpRule {
    /// OR-ed; none matches every connection.
    pub matches: Vec<ConnectionMatch>,
    /// Weighted.
    pub backends: Vec<Backend>,
}

/// Conditions on a connection; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionMatch {
    /// Server names: exact or `*.suffix`; for TLS at least one.
    pub sni_hosts: Vec<String>,
    /// Networks of the destination, as written (`10.0.0.0/8`).
    pub destination_subnets: Vec<String>,
    /// The port that the client dialled.
    pub port: Option<u16>,
    /// Labels of the client's pod.
    pub source_labels: Labels,
    /// Namespace of the client's pod.
    pub source_namespace: Option<String>,
}
