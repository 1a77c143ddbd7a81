//! HTTPRoutes, GRPCRoutes and ReferenceGrants, right and wrong.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use heddle_core::route::model::*;
use serde_json::{Value, json};

use super::*;
use crate::diagnostic::Severity;

const PARENT: &str = "parentRefs: [{group: '', kind: Service, name: echo, port: 80}]";

fn object(kind: &str, spec: &str) -> Object {
    let spec = crate::manifest::value(spec).unwrap().unwrap_or(Value::Null);
    let version = if kind == "ReferenceGrant" { "v1beta1" } else { "v1" };
    let value = json!({"apiVersion": format!("{GATEWAY_GROUP}/{version}"), "kind": kind,
        "metadata": {"name": "a", "namespace": "prod"}, "spec": spec});
    Object::from_value(value).unwrap()
}

fn http(rules: &str) -> Normalised<GatewayRoute> {
    http_route(&object("HTTPRoute", &format!("{PARENT}\nrules:\n{rules}")), &Context::default())
}

fn taken(rules: &str) -> GatewayRoute {
    let read = http(rules);
    assert_eq!(read.problems, [], "{rules}");
    read.model.unwrap()
}

fn service(name: &str, namespace: &str, port: u16) -> BackendRef {
    BackendRef::Host(HostRef {
        host: format!("{name}.{namespace}.svc.cluster.local"),
        port: Some(port),
        subset: None,
    })
}

#[test]
fn a_split_is_read_with_its_defaults() {
    let read =
        taken("- backendRefs: [{name: v1, port: 80, weight: 90}, {name: v2, namespace: other, port: 8080}]");
    let parent = ServiceParent {
        namespace: "prod".into(),
        hostname: "echo.prod.svc.cluster.local".into(),
        port: Some(80),
        consumer: false,
    };
    assert_eq!(read.route.attach, Attach::Services(vec![parent]));
    let rule = &read.route.http[0];
    assert_eq!(rule.matches.len(), 1);
    assert_eq!(rule.matches[0].path, Some(PathMatch::Elements("/".into())));
    let HttpAction::Forward(backends) = &rule.action else { panic!() };
    assert_eq!((&backends[0].to, backends[0].weight), (&service("v1", "prod", 80), 90));
    assert_eq!((&backends[1].to, backends[1].weight), (&service("v2", "other", 8080), 1));
}

#[test]
fn every_match_is_read() {
    let read = taken(
        "- name: one\n  matches:\n  - path: {type: Exact, value: /a}\n    method: GET\n    headers: [{name: Version, value: two}, {name: x, type: RegularExpression, value: 'a.*'}]\n    queryParams: [{name: Animal, value: whale}]\n  - path: {type: RegularExpression, value: '/v[0-9]+'}\n  backendRefs: [{name: a, port: 80}]",
    );
    let rule = &read.route.http[0];
    assert_eq!((rule.name.as_str(), &rule.matches[0].path), ("one", &Some(PathMatch::Exact("/a".into()))));
    assert_eq!(rule.matches[0].method, Some(TextMatch::Exact("GET".into())));
    assert_eq!(
        (rule.matches[0].headers[0].name.as_str(), rule.matches[0].query[0].name.as_str()),
        ("version", "Animal")
    );
    assert_eq!(rule.matches[1].path, Some(PathMatch::Regex("/v[0-9]+".into())));
}

#[test]
fn every_filter_is_read() {
    let read = taken(
        "- filters:\n  - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: one}], add: [{name: b, value: two}], remove: [C]}}\n  - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [d]}}\n  - {type: RequestMirror, requestMirror: {backendRef: {name: m, port: 80}, percent: 20}}\n  - {type: RequestMirror, requestMirror: {backendRef: {name: w, port: 80}, fraction: {numerator: 1, denominator: 3}}}\n  - {type: URLRewrite, urlRewrite: {hostname: h.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}\n  - {type: CORS, cors: {allowOrigins: ['https://*.example.com', 'https://a.com'], allowMethods: ['*'], allowCredentials: true, maxAge: 60}}\n  backendRefs:\n  - {name: a, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: b, value: c}]}}]}\n  timeouts: {request: 10s, backendRequest: 2s}\n  retry: {codes: [500, 503], attempts: 3, backoff: 100ms}",
    );
    let rule = &read.route.http[0];
    assert_eq!(rule.headers.request.set, [("x-a".to_owned(), "one".to_owned())]);
    assert_eq!(
        (rule.headers.request.remove[0].as_str(), rule.headers.response.remove[0].as_str()),
        ("c", "d")
    );
    assert_eq!([rule.mirrors[0].share, rule.mirrors[1].share], [Share(200_000), Share(333_333)]);
    let rewrite = rule.rewrite.as_ref().unwrap();
    assert_eq!(
        (&rewrite.path, rewrite.authority.as_deref()),
        (&Some(PathRewrite::Elements("/x".into())), Some("h.example"))
    );
    let cors = rule.cors.as_ref().unwrap();
    assert_eq!(cors.allow_origins[0], TextMatch::Regex(r"https://.*\.example\.com".into()));
    assert_eq!(cors.max_age, Some(Duration::from_secs(60)));
    let HttpAction::Forward(backends) = &rule.action else { panic!() };
    assert_eq!(backends[0].headers.request.add.len(), 1);
    assert_eq!(rule.timeout, Some(Duration::from_secs(10)));
    let retries = rule.retries.as_ref().unwrap();
    assert_eq!((retries.attempts, retries.per_try_timeout), (3, Some(Duration::from_secs(2))));
    assert!(retries.retry_on.ends_with(",500,503"));
}

#[test]
fn redirects_say_their_port() {
    let rows = [
        ("scheme: https", RedirectPort::Protocol, 302),
        ("hostname: a.com, statusCode: 308", RedirectPort::Request, 308),
        ("port: 8083", RedirectPort::Number(8083), 302),
        ("path: {type: ReplaceFullPath, replaceFullPath: /x}", RedirectPort::Request, 302),
    ];
    for (filter, port, status) in rows {
        let read = taken(&format!("- filters: [{{type: RequestRedirect, requestRedirect: {{{filter}}}}}]"));
        let HttpAction::Redirect(redirect) = &read.route.http[0].action else { panic!() };
        assert_eq!((redirect.port, redirect.status), (port, status), "{filter}");
    }
}

#[test]
fn what_is_wrong_is_refused_with_the_path_and_the_way_out() {
    let backend = "backendRefs: [{name: a, port: 80}]";
    let rows = [
        ("- backendRefs: [{name: a}]".to_owned(), "spec.rules[0].backendRefs[0].port", "is required"),
        ("- backendRefs: [{port: 80}]".to_owned(), "spec.rules[0].backendRefs[0].name", "is required"),
        (
            "- backendRefs: [{name: a, port: 80, weight: -1}]".to_owned(),
            "spec.rules[0].backendRefs[0].weight",
            "is -1",
        ),
        (format!("- {{name: x, {backend}}}\n- {{name: x, {backend}}}"), "spec.rules[1].name", "another rule"),
        (
            format!("- matches: [{{path: {{value: foo}}}}]\n  {backend}"),
            "spec.rules[0].matches[0].path.value",
            "\"/foo\"",
        ),
        (
            format!("- matches: [{{path: {{value: /a//b}}}}]\n  {backend}"),
            "spec.rules[0].matches[0].path.value",
            "//",
        ),
        (
            format!("- matches: [{{path: {{type: Prefix, value: /a}}}}]\n  {backend}"),
            "spec.rules[0].matches[0].path.type",
            "PathPrefix",
        ),
        (
            format!("- matches: [{{path: {{type: RegularExpression, value: '('}}}}]\n  {backend}"),
            "spec.rules[0].matches[0].path.value",
            "unclosed",
        ),
        (format!("- matches: [{{method: get}}]\n  {backend}"), "spec.rules[0].matches[0].method", "GET"),
        (
            format!("- matches: [{{headers: [{{name: 'a b', value: c}}]}}]\n  {backend}"),
            "spec.rules[0].matches[0].headers[0].name",
            "no name",
        ),
        (
            format!("- filters: [{{type: Rewrite}}]\n  {backend}"),
            "spec.rules[0].filters[0].type",
            "URLRewrite",
        ),
        (
            format!("- filters: [{{type: URLRewrite}}]\n  {backend}"),
            "spec.rules[0].filters[0].urlRewrite",
            "is required",
        ),
        (
            format!("- filters: [{{type: URLRewrite, urlRewrite: {{}}, cors: {{}}}}]\n  {backend}"),
            "spec.rules[0].filters[0].cors",
            "belongs to",
        ),
        (
            format!(
                "- filters: [{{type: URLRewrite, urlRewrite: {{path: {{type: ReplaceFullPath, replacePrefixMatch: /}}}}}}]\n  {backend}"
            ),
            "spec.rules[0].filters[0].urlRewrite.path",
            "replaceFullPath",
        ),
        (
            format!(
                "- matches: [{{path: {{type: Exact, value: /a}}}}]\n  filters: [{{type: URLRewrite, urlRewrite: {{path: {{type: ReplacePrefixMatch, replacePrefixMatch: /}}}}}}]\n  {backend}"
            ),
            "spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch",
            "exactly one match",
        ),
        (
            format!(
                "- filters: [{{type: RequestRedirect, requestRedirect: {{scheme: https}}}}]\n  {backend}"
            ),
            "spec.rules[0].backendRefs",
            "RequestRedirect",
        ),
        (
            format!(
                "- filters: [{{type: RequestMirror, requestMirror: {{backendRef: {{name: a, port: 80}}, percent: 101}}}}]\n  {backend}"
            ),
            "spec.rules[0].filters[0].requestMirror.percent",
            "0 to 100",
        ),
        (
            format!("- timeouts: {{request: 1.5s}}\n  {backend}"),
            "spec.rules[0].timeouts.request",
            "no duration",
        ),
        (
            format!("- timeouts: {{request: 1s, backendRequest: 2s}}\n  {backend}"),
            "spec.rules[0].timeouts.backendRequest",
            "longer",
        ),
        (format!("- retry: {{codes: [200]}}\n  {backend}"), "spec.rules[0].retry.codes[0]", "400"),
        ("- backendrefs: []".to_owned(), "spec.rules[0].backendrefs", "backendRefs"),
    ];
    for (rules, path, word) in rows {
        let read = http(&rules);
        let found: Vec<_> = read.problems.iter().filter(|found| found.severity == Severity::Error).collect();
        assert_eq!(found.len(), 1, "{rules}: {:?}", read.problems);
        assert_eq!(found[0].path, path, "{rules}: {found:?}");
        assert!(found[0].message.contains(word), "{rules}: {found:?}");
        let model = read.model.unwrap();
        assert!(model.refused && model.route.http.is_empty() && model.parents.len() == 1, "{rules}");
    }
}

#[test]
fn what_is_not_served_breaks_what_it_stands_in() {
    let read = http(
        "- filters: [{type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}]\n  backendRefs: [{name: a, port: 80}]\n- backendRefs: [{name: b, port: 80}]",
    );
    let model = read.model.unwrap();
    assert_eq!(read.problems[0].code.text(), "HDL0003");
    assert!(model.route.http[0].broken.is_some() && model.route.http[1].broken.is_none());
    assert_eq!(model.dropped.len(), 1);
    let read =
        http("- backendRefs: [{group: multicluster.x-k8s.io, kind: ServiceImport, name: a, port: 80}]");
    let model = read.model.unwrap();
    assert_eq!(model.invalid_kinds, ["ServiceImport a is not a Service"]);
    let HttpAction::Forward(backends) = &model.route.http[0].action else { panic!() };
    assert!(matches!(backends[0].to, BackendRef::Invalid(_)));
}

#[test]
fn consumer_routes_and_gateways_are_told_apart() {
    let spec = "parentRefs: [{group: '', kind: Service, name: echo, namespace: other}, {name: gw}]\nrules: [{backendRefs: [{name: a, port: 80}]}]";
    let model = http_route(&object("HTTPRoute", spec), &Context::default()).model.unwrap();
    let Attach::Services(services) = &model.route.attach else { panic!() };
    assert!(services.len() == 1 && services[0].consumer);
    assert_eq!((model.parents.len(), model.parents[1].kind.as_str()), (2, "Gateway"));
}

#[test]
fn methods_of_grpc_become_paths() {
    let rows = [
        ("service: a.B, method: Do", PathMatch::Exact("/a.B/Do".into())),
        ("service: a.B", PathMatch::Prefix("/a.B/".into())),
        ("method: Do", PathMatch::Regex("/[^/]+/Do".into())),
        ("type: RegularExpression, service: 'a.*'", PathMatch::Regex("/(?:a.*)/[^/]+".into())),
    ];
    for (method, path) in rows {
        let spec = format!(
            "{PARENT}\nrules: [{{matches: [{{method: {{{method}}}}}], backendRefs: [{{name: a, port: 80}}]}}]"
        );
        let read = grpc_route(&object("GRPCRoute", &spec), &Context::default());
        assert_eq!(read.problems, [], "{method}");
        assert_eq!(read.model.unwrap().route.http[0].matches[0].path, Some(path), "{method}");
    }
    for (rule, path) in [
        ("matches: [{method: {}}]", "spec.rules[0].matches[0].method"),
        ("matches: [{path: {value: /}}]", "spec.rules[0].matches[0].path"),
        ("filters: [{type: URLRewrite}]", "spec.rules[0].filters[0].urlRewrite"),
    ] {
        let read =
            grpc_route(&object("GRPCRoute", &format!("{PARENT}\nrules: [{{{rule}}}]")), &Context::default());
        assert_eq!(read.problems[0].path, path, "{:?}", read.problems);
    }
}

#[test]
fn grants_allow_what_they_name() {
    let spec = "from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: web}]\nto: [{group: '', kind: Service, name: db}]";
    let read = reference_grant(&object("ReferenceGrant", spec));
    assert_eq!(read.problems, []);
    let grant = read.model.unwrap();
    assert!(grant.allows("HTTPRoute", "web", "db"));
    assert!(
        !grant.allows("HTTPRoute", "web", "x")
            && !grant.allows("GRPCRoute", "web", "db")
            && !grant.allows("HTTPRoute", "a", "db")
    );
    assert_eq!(reference_grant(&object("ReferenceGrant", "{}")).problems.len(), 2);
}
