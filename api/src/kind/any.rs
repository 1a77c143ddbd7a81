//! Any JSON, in every kind: a problem or an object, never a panic; and the largest objects in time.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::KINDS;
use crate::analyze::analyze;
use crate::manifest;
use crate::object::Object;

/// Words of the APIs, so that what is made up goes deep.
const WORDS: &[&str] = &[
    "spec",
    "hosts",
    "http",
    "match",
    "route",
    "destination",
    "host",
    "port",
    "number",
    "weight",
    "uri",
    "exact",
    "prefix",
    "regex",
    "headers",
    "request",
    "set",
    "add",
    "remove",
    "fault",
    "delay",
    "abort",
    "percentage",
    "percent",
    "value",
    "fixedDelay",
    "httpStatus",
    "retries",
    "attempts",
    "mirror",
    "mirrors",
    "rewrite",
    "redirect",
    "delegate",
    "tcp",
    "tls",
    "sniHosts",
    "gateways",
    "exportTo",
    "trafficPolicy",
    "portLevelSettings",
    "subsets",
    "labels",
    "loadBalancer",
    "consistentHash",
    "outlierDetection",
    "connectionPool",
    "mode",
    "rules",
    "from",
    "source",
    "to",
    "operation",
    "when",
    "key",
    "values",
    "paths",
    "ports",
    "selector",
    "matchLabels",
    "principals",
    "ipBlocks",
    "targetRefs",
    "parentRefs",
    "backendRefs",
    "matches",
    "filters",
    "type",
    "name",
    "namespace",
    "kind",
    "group",
    "timeouts",
    "retry",
    "codes",
    "endpoints",
    "addresses",
    "resolution",
    "workloadSelector",
    "address",
    "timeout",
    "method",
    "queryParams",
    "requestMirror",
    "urlRewrite",
    "path",
    "locality",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "*",
    "*.a.b",
    "5s",
    "1.5h",
    "99999999999h",
    "/a",
    "10.0.0.0/8",
    "::1",
    "(",
    "[a",
    "\u{e9}\u{0}",
    "GET",
    "STATIC",
    "DNS",
    "DENY",
    "CUSTOM",
    "Service",
    "URLRewrite",
    "RequestMirror",
    "PathPrefix",
    "80",
    "50%",
    "{*}/{**}",
    "a/b/c",
    "spiffe://a",
    "\\9",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-5_i64..70_000).prop_map(Value::from),
        any::<f64>()
            .prop_map(|number| serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)),
        prop::sample::select(TEXTS).prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, |inner| {
        let fields = prop::collection::vec((prop::sample::select(WORDS), inner.clone()), 0..6);
        let object = fields.prop_map(|fields| {
            Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        });
        prop_oneof![2 => prop::collection::vec(inner, 0..4).prop_map(Value::Array), 5 => object]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_spec_breaks_any_kind(spec in any_json()) {
        let mut objects = Vec::new();
        for info in KINDS {
            let value = json!({"apiVersion": info.api_version(), "kind": info.kind, "metadata": {"name": "a", "namespace": "b"}, "spec": spec});
            let mut object = Object::from_value(value).unwrap();
            let problems = manifest::check(&mut object);
            prop_assert!(problems.iter().all(|problem| !problem.message.is_empty()));
            objects.push(object);
        }
        let objects: Vec<&Object> = objects.iter().collect();
        analyze(&objects);
    }
}

fn checked(kind: &str, api: &str, spec: &Value) -> (Object, Duration) {
    let value =
        json!({"apiVersion": api, "kind": kind, "metadata": {"name": "a", "namespace": "b"}, "spec": spec});
    let mut object = Object::from_value(value).unwrap();
    let begun = Instant::now();
    let problems = manifest::check(&mut object);
    let taken = begun.elapsed();
    assert!(problems.is_empty(), "{:?}", problems.first());
    (object, taken)
}

/// Debug builds on a busy machine are slow; what this tells apart is linear from worse.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn ten_thousand_rules_of_one_object_are_checked_in_time() {
    let rules: Vec<Value> = (0..10_000)
        .map(|index| {
            json!({"match": [{"uri": {"regex": format!("/{index}/.*")}, "headers": {"x": {"exact": index.to_string()}}}],
            "route": [{"destination": {"host": "web", "port": {"number": 80}}}]})
        })
        .collect();
    let (object, taken) =
        checked("VirtualService", "networking.istio.io/v1", &json!({"hosts": ["web"], "http": rules}));
    assert!(taken < PATIENCE, "{taken:?}");
    let begun = Instant::now();
    assert_eq!(analyze(&[&object]).len(), 201, "every host is unknown; the rest is counted");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[test]
fn ten_thousand_objects_are_analyzed_in_time() {
    let mut text = String::new();
    for index in 0..5_000 {
        writeln!(text, "{{\"apiVersion\": \"networking.istio.io/v1\", \"kind\": \"VirtualService\", \"metadata\": {{\"name\": \"v{index}\", \"namespace\": \"b\"}}, \"spec\": {{\"hosts\": [\"same\", \"h{index}\"], \"http\": [{{\"route\": [{{\"destination\": {{\"host\": \"h{index}\", \"subset\": \"s\"}}}}]}}]}}}}\n---").unwrap();
        writeln!(text, "{{\"apiVersion\": \"networking.istio.io/v1\", \"kind\": \"DestinationRule\", \"metadata\": {{\"name\": \"d{index}\", \"namespace\": \"b\"}}, \"spec\": {{\"host\": \"*.h{index}.com\"}}}}\n---").unwrap();
    }
    let parsed = manifest::parse("f", &text);
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics.first());
    let objects: Vec<&Object> = parsed.objects.iter().map(|(_, object)| object).collect();
    let begun = Instant::now();
    let found = analyze(&objects);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(found.len(), 15_000, "a conflict and an unknown host each, and a rule of an unknown host");
}

#[test]
fn an_object_of_a_megabyte_is_checked_in_time() {
    let headers: Map<String, Value> =
        (0..20_000).map(|index| (format!("header-{index}"), json!({"exact": "v".repeat(32)}))).collect();
    let spec = json!({"hosts": ["web"], "http": [{"match": [{"headers": headers}], "route": [{"destination": {"host": "web"}}]}]});
    assert!(spec.to_string().len() > 1_000_000);
    let (_, taken) = checked("VirtualService", "networking.istio.io/v1", &spec);
    assert!(taken < PATIENCE, "{taken:?}");
}
