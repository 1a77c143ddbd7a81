//! HTTPRoute, GRPCRoute and ReferenceGrant as written. Source: Gateway API `apis/v1`, the experimental channel.

use serde::Deserialize;
use serde_json::Value;

use crate::normalised::written;

written! {
    HttpRouteSpec {
        parent_refs: Vec<ParentReference>,
        use_default_gateways: Option<String>,
        hostnames: Vec<String>,
        rules: Option<Vec<HttpRouteRule>>,
    }
    HttpRouteRule {
        name: Option<String>,
        matches: Vec<HttpRouteMatch>,
        filters: Vec<Filter>,
        backend_refs: Vec<HttpBackendRef>,
        timeouts: Option<Timeouts>,
        retry: Option<Retry>,
        session_persistence: Option<Value>,
    }
    HttpRouteMatch {
        path: Option<PathMatch>,
        headers: Vec<NamedMatch>,
        query_params: Vec<NamedMatch>,
        method: Option<Method>,
    }
    PathMatch { r#type: Option<PathMatchType>, value: Option<String> }
    NamedMatch { r#type: Option<MatchType>, name: Option<String>, value: Option<String> }
    Filter {
        r#type: Option<String>,
        request_header_modifier: Option<HeaderFilter>,
        response_header_modifier: Option<HeaderFilter>,
        request_mirror: Option<MirrorFilter>,
        request_redirect: Option<RedirectFilter>,
        url_rewrite: Option<RewriteFilter>,
        cors: Option<CorsFilter>,
        external_auth: Option<Value>,
        extension_ref: Option<LocalReference>,
    }
    HeaderFilter { set: Vec<Header>, add: Vec<Header>, remove: Vec<String> }
    Header { name: Option<String>, value: Option<String> }
    MirrorFilter { backend_ref: Option<ObjectReference>, percent: Option<i64>, fraction: Option<Fraction> }
    Fraction { numerator: Option<i64>, denominator: Option<i64> }
    RedirectFilter {
        scheme: Option<String>,
        hostname: Option<String>,
        path: Option<PathModifier>,
        port: Option<i64>,
        status_code: Option<i64>,
    }
    RewriteFilter { hostname: Option<String>, path: Option<PathModifier> }
    PathModifier {
        r#type: Option<PathModifierType>,
        replace_full_path: Option<String>,
        replace_prefix_match: Option<String>,
    }
    CorsFilter {
        allow_origins: Vec<String>,
        allow_credentials: Option<bool>,
        allow_methods: Vec<String>,
        allow_headers: Vec<String>,
        expose_headers: Vec<String>,
        max_age: Option<i64>,
    }
    LocalReference { group: Option<String>, kind: Option<String>, name: Option<String> }
    ObjectReference {
        group: Option<String>,
        kind: Option<String>,
        name: Option<String>,
        namespace: Option<String>,
        port: Option<i64>,
    }
    HttpBackendRef {
        group: Option<String>,
        kind: Option<String>,
        name: Option<String>,
        namespace: Option<String>,
        port: Option<i64>,
        weight: Option<i64>,
        filters: Vec<Filter>,
    }
    Timeouts { request: Option<String>, backend_request: Option<String> }
    Retry { codes: Vec<i64>, attempts: Option<i64>, backoff: Option<String> }
    ParentReference {
        group: Option<String>,
        kind: Option<String>,
        namespace: Option<String>,
        name: Option<String>,
        section_name: Option<String>,
        port: Option<i64>,
    }
    GrpcRouteSpec {
        parent_refs: Vec<ParentReference>,
        use_default_gateways: Option<String>,
        hostnames: Vec<String>,
        rules: Option<Vec<GrpcRouteRule>>,
    }
    GrpcRouteRule {
        name: Option<String>,
        matches: Vec<GrpcRouteMatch>,
        filters: Vec<GrpcFilter>,
        backend_refs: Vec<GrpcBackendRef>,
        session_persistence: Option<Value>,
    }
    GrpcRouteMatch { method: Option<GrpcMethodMatch>, headers: Vec<NamedMatch> }
    GrpcMethodMatch { r#type: Option<MatchType>, service: Option<String>, method: Option<String> }
    GrpcFilter {
        r#type: Option<String>,
        request_header_modifier: Option<HeaderFilter>,
        response_header_modifier: Option<HeaderFilter>,
        request_mirror: Option<MirrorFilter>,
        extension_ref: Option<LocalReference>,
    }
    GrpcBackendRef {
        group: Option<String>,
        kind: Option<String>,
        name: Option<String>,
        namespace: Option<String>,
        port: Option<i64>,
        weight: Option<i64>,
        filters: Vec<GrpcFilter>,
    }
    ReferenceGrantSpec { from: Vec<ReferenceGrantFrom>, to: Vec<ReferenceGrantTo> }
    ReferenceGrantFrom { group: Option<String>, kind: Option<String>, namespace: Option<String> }
    ReferenceGrantTo { group: Option<String>, kind: Option<String>, name: Option<String> }
}

/// `path.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum PathMatchType {
    Exact,
    PathPrefix,
    RegularExpression,
}

/// `type` of a match of a header, a query parameter or a gRPC method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum MatchType {
    Exact,
    RegularExpression,
}

/// `path.type` of a modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum PathModifierType {
    ReplaceFullPath,
    ReplacePrefixMatch,
}

/// `method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

impl Method {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }
}

impl From<GrpcFilter> for Filter {
    fn from(filter: GrpcFilter) -> Self {
        let GrpcFilter {
            r#type,
            request_header_modifier,
            response_header_modifier,
            request_mirror,
            extension_ref,
        } = filter;
        Self {
            r#type,
            request_header_modifier,
            response_header_modifier,
            request_mirror,
            extension_ref,
            ..Self::default()
        }
    }
}

impl From<GrpcBackendRef> for HttpBackendRef {
    fn from(backend: GrpcBackendRef) -> Self {
        let GrpcBackendRef { group, kind, name, namespace, port, weight, filters } = backend;
        let filters = filters.into_iter().map(Filter::from).collect();
        Self { group, kind, name, namespace, port, weight, filters }
    }
}
