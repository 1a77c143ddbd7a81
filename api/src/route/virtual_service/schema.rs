//! VirtualService as written. Source: Istio API `networking/v1/virtual_service.proto`.
//!
//! Every field of the API is here, so that a right one is never called misspelt. Numbers are as wide as they come;
//! their bounds are checked with better words than a type has.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::normalised::written;

pub(crate) type Texts = BTreeMap<String, String>;

written! {
    VirtualServiceSpec {
        hosts: Vec<String>,
        gateways: Vec<String>,
        http: Vec<HttpRoute>,
        tls: Vec<TlsRoute>,
        tcp: Vec<TcpRoute>,
        export_to: Vec<String>,
    }
    HttpRoute {
        name: Option<String>,
        r#match: Vec<HttpMatchRequest>,
        route: Vec<HttpRouteDestination>,
        redirect: Option<HttpRedirect>,
        direct_response: Option<HttpDirectResponse>,
        delegate: Option<Delegate>,
        rewrite: Option<HttpRewrite>,
        timeout: Option<String>,
        retries: Option<HttpRetry>,
        fault: Option<HttpFaultInjection>,
        mirror: Option<Destination>,
        mirrors: Vec<HttpMirrorPolicy>,
        mirror_percent: Option<i64>,
        mirror_percentage: Option<Percent>,
        cors_policy: Option<CorsPolicy>,
        headers: Option<Headers>,
    }
    Delegate { name: Option<String>, namespace: Option<String> }
    HttpMatchRequest {
        name: Option<String>,
        uri: Option<StringMatch>,
        scheme: Option<StringMatch>,
        method: Option<StringMatch>,
        authority: Option<StringMatch>,
        headers: BTreeMap<String, Option<StringMatch>>,
        port: Option<i64>,
        source_labels: Texts,
        gateways: Vec<String>,
        query_params: BTreeMap<String, Option<StringMatch>>,
        ignore_uri_case: Option<bool>,
        without_headers: BTreeMap<String, Option<StringMatch>>,
        source_namespace: Option<String>,
        stat_prefix: Option<String>,
    }
    StringMatch { exact: Option<String>, prefix: Option<String>, regex: Option<String> }
    HttpRouteDestination { destination: Option<Destination>, weight: Option<i64>, headers: Option<Headers> }
    Destination { host: Option<String>, subset: Option<String>, port: Option<PortSelector> }
    PortSelector { number: Option<i64> }
    Percent { value: Option<f64> }
    HttpRedirect {
        uri: Option<String>,
        authority: Option<String>,
        port: Option<i64>,
        derive_port: Option<DerivePort>,
        scheme: Option<String>,
        redirect_code: Option<i64>,
    }
    HttpDirectResponse { status: Option<i64>, body: Option<HttpBody> }
    HttpBody { string: Option<String>, bytes: Option<String> }
    HttpRewrite { uri: Option<String>, authority: Option<String>, uri_regex_rewrite: Option<RegexRewrite> }
    RegexRewrite { r#match: Option<String>, rewrite: Option<String> }
    HttpRetry {
        attempts: Option<i64>,
        per_try_timeout: Option<String>,
        retry_on: Option<String>,
        retry_remote_localities: Option<bool>,
        retry_ignore_previous_hosts: Option<bool>,
        backoff: Option<String>,
    }
    HttpFaultInjection { delay: Option<Delay>, abort: Option<Abort> }
    Delay {
        percent: Option<i64>,
        fixed_delay: Option<String>,
        exponential_delay: Option<String>,
        percentage: Option<Percent>,
    }
    Abort {
        http_status: Option<i64>,
        grpc_status: Option<String>,
        http2_error: Option<String>,
        percentage: Option<Percent>,
    }
    HttpMirrorPolicy { destination: Option<Destination>, percentage: Option<Percent> }
    CorsPolicy {
        allow_origin: Vec<String>,
        allow_origins: Vec<StringMatch>,
        allow_methods: Vec<String>,
        allow_headers: Vec<String>,
        expose_headers: Vec<String>,
        max_age: Option<String>,
        allow_credentials: Option<bool>,
        unmatched_preflights: Option<UnmatchedPreflights>,
    }
    Headers { request: Option<HeaderOperations>, response: Option<HeaderOperations> }
    HeaderOperations { set: Texts, add: Texts, remove: Vec<String> }
    TlsRoute { r#match: Vec<TlsMatch>, route: Vec<RouteDestination> }
    TlsMatch {
        sni_hosts: Vec<String>,
        destination_subnets: Vec<String>,
        port: Option<i64>,
        source_labels: Texts,
        gateways: Vec<String>,
        source_namespace: Option<String>,
    }
    TcpRoute { r#match: Vec<L4Match>, route: Vec<RouteDestination> }
    L4Match {
        destination_subnets: Vec<String>,
        port: Option<i64>,
        source_subnet: Option<String>,
        source_labels: Texts,
        gateways: Vec<String>,
        source_namespace: Option<String>,
    }
    RouteDestination { destination: Option<Destination>, weight: Option<i64> }
}

/// `redirect.derivePort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum DerivePort {
    FromProtocolDefault,
    FromRequestPort,
}

/// `corsPolicy.unmatchedPreflights`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum UnmatchedPreflights {
    Unspecified,
    Forward,
    Ignore,
}
