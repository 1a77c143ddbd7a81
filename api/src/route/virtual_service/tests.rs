//! VirtualServices, right, wrong and slightly wrong.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use heddle_core::object::{ExportTo, ObjectRef};
use heddle_core::route::model::*;
use serde_json::{Value, json};

use super::*;
use crate::diagnostic::Severity;

fn object(spec: &str) -> Object {
    let spec = crate::manifest::value(spec).unwrap().unwrap_or(Value::Null);
    let value = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "prod"}, "spec": spec});
    Object::from_value(value).unwrap()
}

fn taken(spec: &str) -> RouteObject {
    let read = virtual_service(&object(spec), &Context::default());
    assert_eq!(read.problems, [], "{spec}");
    read.model.unwrap()
}

fn found(spec: &str) -> Vec<(Severity, String, String)> {
    let read = virtual_service(&object(spec), &Context::default());
    read.problems.into_iter().map(|problem| (problem.severity, problem.path, problem.message)).collect()
}

fn host(name: &str, port: Option<u16>, subset: Option<&str>) -> BackendRef {
    BackendRef::Host(HostRef { host: name.to_owned(), port, subset: subset.map(str::to_owned) })
}

#[test]
fn a_canary_is_read() {
    let model = taken(
        "hosts: [reviews]\nhttp:\n- name: canary\n  match:\n  - uri: {prefix: /v1}\n    headers: {End-User: {exact: jason}}\n  route:\n  - destination: {host: reviews, subset: v1}\n    weight: 90\n  - destination: {host: reviews.other.svc.cluster.local, port: {number: 80}}\n    weight: 10\n  timeout: 3s\n  retries: {attempts: 2, perTryTimeout: 1.5s, retryOn: 'gateway-error,503', backoff: 25ms}\n",
    );
    assert_eq!(model.source, ObjectRef::named("VirtualService", "prod/a"));
    let hosts = vec!["reviews.prod.svc.cluster.local".to_owned()];
    assert_eq!(model.attach, Attach::Hosts { hosts, export_to: ExportTo::All });
    let rule = &model.http[0];
    assert_eq!(rule.name, "canary");
    assert_eq!(rule.matches[0].path, Some(PathMatch::Prefix("/v1".to_owned())));
    let header =
        HeaderMatch { name: "end-user".to_owned(), value: TextMatch::Exact("jason".to_owned()), not: false };
    assert_eq!(rule.matches[0].headers, [header]);
    let HttpAction::Forward(backends) = &rule.action else { panic!("{:?}", rule.action) };
    assert_eq!(backends[0].to, host("reviews.prod.svc.cluster.local", None, Some("v1")));
    assert_eq!(backends[1].to, host("reviews.other.svc.cluster.local", Some(80), None));
    assert_eq!([backends[0].weight, backends[1].weight], [90, 10]);
    assert_eq!(rule.timeout, Some(Duration::from_secs(3)));
    let retries = rule.retries.as_ref().unwrap();
    assert_eq!((retries.attempts, retries.per_try_timeout), (2, Some(Duration::from_millis(1500))));
}

#[test]
fn the_tutorials_fault_is_taken_as_meant_and_says_how_to_write_it() {
    let text = "hosts:\n- \"my-service\"\nhttp:\n- route:\n  - destination:\n      host: my-service\n    fault:\n      delay:\n        percentage: 50\n        fixedDelay: 5s\n      abort:\n        percentage: 10\n        httpStatus: 500\n";
    let read = virtual_service(&object(text), &Context::default());
    let fault = read.model.unwrap().http[0].fault.clone().unwrap();
    assert_eq!(fault.delay, Some((Share(500_000), Duration::from_secs(5))));
    assert_eq!(fault.abort, Some((Share(100_000), Abort::Http(500))));
    let rows: Vec<(&str, &str)> =
        read.problems.iter().map(|found| (found.path.as_str(), found.message.as_str())).collect();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows[0].0 == "spec.http[0].fault" && rows[0].1.contains("beside `route`"), "{rows:?}");
    assert!(rows[1].0 == "spec.http[0].fault.delay.percentage", "{rows:?}");
    assert!(rows[1].1.contains("percentage: {value: 50}"), "{rows:?}");
    assert!(
        read.problems
            .iter()
            .all(|found| found.severity == Severity::Warning && found.code.text() == "IST0133")
    );
}

#[test]
fn plain_intent_is_taken_with_a_warning() {
    let rows = [
        ("http: {route: [{destination: {host: a}}]}\nhosts: [a]", "spec.http", "list of one"),
        ("hosts: a\nhttp: [{route: [{destination: {host: a}}]}]", "spec.hosts", "list of one"),
        (
            "hosts: [a]\nhttp: [{route: [{host: a, port: {number: 80}}]}]",
            "spec.http[0].route[0].host",
            "- destination: {host: a, port: {number: 80}}",
        ),
        (
            "hosts: [a]\nhttp: [{route: [{destination: {host: a, port: 80}}]}]",
            "spec.http[0].route[0].destination.port",
            "port: {number: 80}",
        ),
        (
            "hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: '100'}]}]",
            "spec.http[0].route[0].weight",
            "weight: 100",
        ),
        (
            "hosts: [a]\nhttp: [{route: [{destination: {host: a}, timeout: 3s}]}]",
            "spec.http[0].timeout",
            "beside `route`",
        ),
        (
            "hosts: [a]\nhttp: [{retries: 2, route: [{destination: {host: a}}]}]",
            "spec.http[0].retries",
            "retries: {attempts: 2}",
        ),
        (
            "hosts: [a]\nhttp: [{mirror: {host: b}, mirrorPercentage: 12.5, route: [{destination: {host: a}}]}]",
            "spec.http[0].mirrorPercentage",
            "{value: 12.5}",
        ),
        (
            "hosts: [a]\nhttp: [{match: [{headers: {x-user: jason}}], route: [{destination: {host: a}}]}]",
            "spec.http[0].match[0].headers.x-user",
            "{exact: \"jason\"}",
        ),
        (
            "hosts: [a]\nhttp: [{fault: {abort: {percent: 10, httpStatus: 500}}, route: [{destination: {host: a}}]}]",
            "spec.http[0].fault.abort.percent",
            "percentage: {value: 10}",
        ),
        (
            "hosts: [a]\nhttp: [{fault: {delay: {percent: 10, fixedDelay: 5s}}, route: [{destination: {host: a}}]}]",
            "spec.http[0].fault.delay.percent",
            "percentage: {value: 10}",
        ),
        (
            "hosts: [a]\nhttp: [{fault: {abort: {percentage: '50%', httpStatus: 500}}, route: [{destination: {host: a}}]}]",
            "spec.http[0].fault.abort.percentage",
            "{value: 50}",
        ),
    ];
    for (spec, path, word) in rows {
        let found = found(spec);
        assert_eq!(found.len(), 1, "{spec}: {found:?}");
        assert_eq!((found[0].0, found[0].1.as_str()), (Severity::Warning, path), "{spec}: {found:?}");
        assert!(found[0].2.contains(word), "{spec}: {found:?}");
    }
}

/// A rule that goes to `a`, with these fields.
fn rule(fields: &str) -> String {
    format!("hosts: [a]\nhttp: [{{route: [{{destination: {{host: a}}}}], {fields}}}]")
}

#[test]
fn what_is_wrong_is_refused_with_the_path_and_the_way_out() {
    let rows = [
        ("{}".to_owned(), "spec", "at least one of http"),
        ("hosts: [a]".to_owned(), "spec", "at least one of http"),
        ("hosts: [a]\nhttp: [{}]".to_owned(), "spec.http[0]", "does nothing"),
        ("hosts: ['*']\nhttp: [{route: [{destination: {host: a}}]}]".to_owned(), "spec.hosts[0]", "cannot be bound"),
        ("hosts: [a, a]\nhttp: [{route: [{destination: {host: a}}]}]".to_owned(), "spec.hosts[1]", "twice"),
        ("hosts: ['a:80']\nhttp: [{route: [{destination: {host: a}}]}]".to_owned(), "spec.hosts[0]", "has a port"),
        ("hosts: [a]\nhttp: [{route: [{}]}]".to_owned(), "spec.http[0].route[0].destination", "is required"),
        ("hosts: [a]\nhttp: [{route: [{destination: {host: '*'}}]}]".to_owned(), "spec.http[0].route[0].destination.host", "wildcard"),
        ("hosts: [a]\nhttp: [{route: [{destination: {host: a, port: {number: 0}}}]}]".to_owned(), "spec.http[0].route[0].destination.port.number", "65535"),
        ("hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: -1}]}]".to_owned(), "spec.http[0].route[0].weight", "is -1"),
        ("hosts: [a]\nhttp: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]".to_owned(), "spec.http[0].route", "sum to 0"),
        ("hosts: [a]\nhttp: [{route: [{destination: {host: a}, fault: {}, weight: 1}, {destination: {host: b}, weight: 1}]}]".to_owned(), "spec.http[0].route", "move it there"),
        (rule("redirect: {uri: /x}"), "spec.http[0]", "route and redirect"),
        (rule("timeout: 3"), "spec.http[0].timeout", "\"3\""),
        (rule("timeout: 3 s"), "spec.http[0].timeout", "no duration"),
        (rule("timeout: 1us"), "spec.http[0].timeout", "finer"),
        (rule("retries: {attempts: 0, retryOn: 5xx}"), "spec.http[0].retries.attempts", "switches retries off"),
        (rule("retries: {attempts: 2, retryOn: 5x}"), "spec.http[0].retries.retryOn", "\"5xx\""),
        (rule("fault: {delay: {percentage: {value: 150}, fixedDelay: 1s}}"), "spec.http[0].fault.delay.percentage.value", "0 to 100"),
        (rule("fault: {delay: {percentage: {value: 50}}}"), "spec.http[0].fault.delay.fixedDelay", "is required"),
        (rule("fault: {abort: {percentage: {value: 50}, httpStatus: 99}}"), "spec.http[0].fault.abort.httpStatus", "200 to 599"),
        (rule("fault: {abort: {percentage: {value: 50}, grpcStatus: UNAVAILBLE}}"), "spec.http[0].fault.abort.grpcStatus", "UNAVAILABLE"),
        (rule("mirror: {host: b}, mirrorPercentage: {value: 101}"), "spec.http[0].mirrorPercentage.value", "0 to 100"),
        (rule("rewrite: {}"), "spec.http[0].rewrite", "nothing to rewrite"),
        (rule("rewrite: {uriRegexRewrite: {match: '(', rewrite: /}}"), "spec.http[0].rewrite.uriRegexRewrite.match", "unclosed group"),
        (rule("rewrite: {uriRegexRewrite: {match: '/a/(.*)', rewrite: '/\\2'}}"), "spec.http[0].rewrite.uriRegexRewrite.rewrite", "\\2"),
        (rule("rewrite: {authority: b}, headers: {request: {set: {Host: c}}}"), "spec.http[0]", "authority twice"),
        (rule("headers: {response: {set: {':status': '200'}}}"), "spec.http[0].headers.response.set[\":status\"]", "cannot be changed"),
        (rule("headers: {request: {set: {'a b': c}}}"), "spec.http[0].headers.request.set[\"a b\"]", "no header name"),
        (rule("match: [{uri: {exact: /a, prefix: /b}}]"), "spec.http[0].match[0].uri", "more than one"),
        (rule("match: [{uri: {regex: '((a{100}){100}){100}'}}]"), "spec.http[0].match[0].uri.regex", "smaller repetitions"),
        (rule("match: [{uri: /a}]"), "spec.http[0].match[0].uri", "mapping"),
        (rule("match: [{url: {exact: /a}}]"), "spec.http[0].match[0].url", "\"uri\""),
        (rule("match: [{port: 70000}]"), "spec.http[0].match[0].port", "65535"),
        (rule("timeoutt: 1s"), "spec.http[0].timeoutt", "\"timeout\""),
        ("hosts: [a]\nhttp: [{delegate: {name: b}, route: [{destination: {host: a}}]}]".to_owned(), "spec.http[0]", "route and delegate"),
        ("http: [{delegate: {name: b}}]".to_owned(), "spec.http[0].delegate", "one step"),
        ("http: [{match: [{uri: {regex: a}}], route: [{destination: {host: a}}]}]".to_owned(), "spec.http[0].match[0].uri", "takes no regex"),
        ("tcp: [{route: [{destination: {host: a}}]}]".to_owned(), "spec.hosts", "is required"),
        ("hosts: [a]\ntls: [{route: [{destination: {host: a}}]}]".to_owned(), "spec.tls[0].match", "sniHosts"),
        ("hosts: [a.com]\ntls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: a}}]}]".to_owned(), "spec.tls[0].match[0].sniHosts[0]", "none of spec.hosts"),
        ("hosts: [a]\ntcp: [{match: [{destinationSubnets: [10.0.0.0/33]}], route: [{destination: {host: a}}]}]".to_owned(), "spec.tcp[0].match[0].destinationSubnets[0]", "no network"),
        ("hosts: [a]\nexportTo: ['.', '*']\nhttp: [{route: [{destination: {host: a}}]}]".to_owned(), "spec.exportTo", "beside it"),
        ("hosts: [a]\nhttp: [{directResponse: {status: 600}}]".to_owned(), "spec.http[0].directResponse.status", "200 to 599"),
        ("hosts: [a]\nhttp: [{redirect: {redirectCode: 200, uri: /a}}]".to_owned(), "spec.http[0].redirect.redirectCode", "308"),
    ];
    for (spec, path, word) in rows {
        let found: Vec<_> = found(&spec).into_iter().filter(|found| found.0 == Severity::Error).collect();
        assert_eq!(found.len(), 1, "{spec}: {found:?}");
        assert_eq!(found[0].1, path, "{spec}: {found:?}");
        assert!(found[0].2.contains(word), "{spec}: {found:?}");
    }
}

#[test]
fn only_what_concerns_the_mesh_is_kept() {
    let spec = "hosts: [a.com]\ngateways: [gw]\nhttp: [{route: [{destination: {host: a}}]}]";
    let read = virtual_service(&object(spec), &Context::default());
    assert!(read.model.is_none() && !read.refused());
    assert_eq!((read.problems[0].path.as_str(), read.problems[0].code.text()), ("spec.gateways", "HDL0003"));
    let spec = "hosts: [a.com]\ngateways: [gw, mesh]\nhttp:\n- match: [{gateways: [gw]}]\n  route: [{destination: {host: b}}]\n- match: [{gateways: [gw], port: 1}, {gateways: [mesh], port: 2}]\n  route: [{destination: {host: c}}]\n- route: [{destination: {host: d}}]";
    let model = taken(spec);
    assert_eq!(model.http.len(), 2);
    assert_eq!(model.http[0].matches.len(), 1);
    assert_eq!(model.http[0].matches[0].port, Some(2));
}

#[test]
fn everything_else_of_a_rule_is_read() {
    let model = taken(
        "exportTo: [., other]\nhosts: [a]\nhttp:\n- match: [{ignoreUriCase: true, uri: {exact: /A}, withoutHeaders: {x: {}}, queryParams: {q: {regex: 'a+'}}, sourceLabels: {app: x}, sourceNamespace: dev, scheme: {exact: http}, method: {exact: GET}, authority: {prefix: a}}]\n  rewrite: {uri: /b, authority: c}\n  route: [{destination: {host: a}, headers: {request: {add: {X: val}}, response: {remove: [Z]}}}]\n  mirrors: [{destination: {host: m}, percentage: {value: 0.5}}]\n  corsPolicy: {allowOrigins: [{exact: https://a}], allowMethods: [GET], allowHeaders: [x], exposeHeaders: [x-y], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE}\n- match: [{uri: {prefix: /r}}]\n  redirect: {uri: /x, authority: b, derivePort: FROM_REQUEST_PORT, scheme: https, redirectCode: 308}\n- match: [{uri: {prefix: /d}}]\n  directResponse: {status: 503, body: {string: unknown}}\n- match: [{uri: {prefix: /e}}]\n  delegate: {name: d, namespace: dev}\n",
    );
    let Attach::Hosts { export_to: ExportTo::Namespaces(names), .. } = &model.attach else { panic!() };
    assert_eq!(names.iter().collect::<Vec<_>>(), ["other", "prod"]);
    let first = &model.http[0];
    assert!(first.matches[0].ignore_case);
    assert_eq!(
        first.matches[0].headers,
        [HeaderMatch { name: "x".into(), value: TextMatch::Present, not: true }]
    );
    assert_eq!(
        first.mirrors,
        [Mirror { to: host("m.prod.svc.cluster.local", None, None), share: Share(5_000) }]
    );
    assert_eq!(first.rewrite.as_ref().unwrap().path, Some(PathRewrite::Matched("/b".into())));
    assert_eq!(first.cors.as_ref().unwrap().max_age, Some(Duration::from_secs(86_400)));
    let HttpAction::Redirect(redirect) = &model.http[1].action else { panic!() };
    assert_eq!((redirect.status, redirect.port), (308, RedirectPort::Request));
    let HttpAction::Respond(answer) = &model.http[2].action else { panic!() };
    assert_eq!((answer.status, answer.body.as_slice()), (503, b"unknown".as_slice()));
    assert_eq!(model.http[3].action, HttpAction::Delegate { namespace: "dev".into(), name: "d".into() });
}
