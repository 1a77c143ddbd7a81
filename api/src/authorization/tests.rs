//! Policies, right, wrong and not served.
#![allow(clippy::unwrap_used, clippy::panic)]

use heddle_core::policy::{Clause, Match, Rule, StringMatch};
use serde_json::{Value, json};

use super::*;
use crate::diagnostic::Severity;

fn object(spec: &str) -> Object {
    let spec = crate::manifest::value(spec).unwrap().unwrap_or(Value::Null);
    let value = json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "a", "namespace": "prod"}, "spec": spec});
    Object::from_value(value).unwrap()
}

fn taken(spec: &str) -> Authorization {
    let read = authorization_policy(&object(spec), &Context::default());
    assert_eq!(read.problems, [], "{spec}");
    read.model.unwrap()
}

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.to_owned())
}

#[test]
fn the_tutorials_policy_is_read_as_written() {
    let read = taken(
        "selector: {matchLabels: {app: my-app}}\nrules:\n- from:\n  - source: {namespaces: [trusted]}\n  to:\n  - operation: {methods: [GET, POST]}\n",
    );
    assert_eq!(read.selector.get("app").map(String::as_str), Some("my-app"));
    let policy = read.policy.unwrap();
    assert_eq!((policy.action, policy.name.as_str()), (Action::Allow, "prod/a"));
    let [from, to] = &*policy.rules[0].clauses else { panic!("{policy:?}") };
    assert_eq!(*from.matches[0].namespaces, [exact("trusted")]);
    assert_eq!(*to.matches[0].request.methods, [exact("GET"), exact("POST")]);
}

#[test]
fn empty_and_absent_mean_what_istio_says() {
    let rows: &[(&str, Action, &[Rule])] = &[
        ("{}", Action::Allow, &[]),
        ("action: ALLOW", Action::Allow, &[]),
        ("rules: []", Action::Allow, &[]),
        ("rules: [{}]", Action::Allow, &[Rule { clauses: Box::new([]) }]),
        ("action: DENY\nrules: [{}]", Action::Deny, &[Rule { clauses: Box::new([]) }]),
    ];
    for (spec, action, rules) in rows {
        let policy = taken(spec).policy.unwrap();
        assert_eq!((policy.action, &*policy.rules), (*action, *rules), "{spec}");
    }
    let read = authorization_policy(&object("action: DENY"), &Context::default());
    assert_eq!(read.model.unwrap().policy.unwrap().rules.len(), 0);
    assert!(read.problems[0].message.contains("rules: [{}]"));
}

#[test]
fn values_take_wildcards_at_their_ends_and_templates_in_paths() {
    let policy = taken(
        "rules:\n- from: [{source: {principals: ['*', 'a/*', '*/b', c], notIpBlocks: [10.0.0.0/8, '::1'], serviceAccounts: []}}]\n- from: [{source: {serviceAccounts: [x, ns/y]}}]\n  to: [{operation: {paths: ['/a/{*}/b', '/{**}', '/c*'], notHosts: ['*.example.com'], ports: ['80']}}]\n",
    )
    .policy
    .unwrap();
    let first = &policy.rules[0].clauses[0].matches[0];
    let want = [
        StringMatch::Presence,
        StringMatch::Prefix("a/".into()),
        StringMatch::Suffix("/b".into()),
        exact("c"),
    ];
    assert_eq!(*first.principals, want);
    assert_eq!(first.not_source_ips.len(), 2);
    let second = &policy.rules[1].clauses;
    let accounts = [("prod".to_owned(), "x".to_owned()), ("ns".to_owned(), "y".to_owned())];
    assert_eq!(*second[0].matches[0].service_accounts, accounts);
    let operation = &second[1].matches[0];
    assert_eq!(*operation.destination_ports, [80]);
    assert_eq!(operation.request.paths[0], StringMatch::Template("/a/{*}/b".into()));
    assert_eq!(operation.request.paths[2], StringMatch::Prefix("/c".into()));
}

#[test]
fn what_is_not_served_denies_and_says_so() {
    let all = Rule { clauses: Box::new([Clause { matches: Box::new([Match::default()]) }]) };
    let nothing = Rule { clauses: Box::new([]) };
    let jwt = "rules: [{from: [{source: {requestPrincipals: ['*']}}]}]";
    let when = "rules: [{when: [{key: source.ip, values: [10.0.0.1]}]}]";
    let rows: Vec<(String, Action, Vec<Rule>)> = vec![
        (jwt.to_owned(), Action::Allow, vec![]),
        (format!("action: DENY\n{jwt}"), Action::Deny, vec![all.clone()]),
        (when.to_owned(), Action::Allow, vec![]),
        (format!("action: DENY\n{when}"), Action::Deny, vec![nothing]),
        (
            "action: DENY\nrules: [{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}]}]".to_owned(),
            Action::Deny,
            vec![all],
        ),
    ];
    for (spec, action, rules) in rows {
        let read = authorization_policy(&object(&spec), &Context::default());
        assert!(!read.problems.is_empty(), "{spec}");
        assert!(
            read.problems
                .iter()
                .all(|found| found.code.text() == "HDL0003" && found.severity == Severity::Warning)
        );
        let policy = read.model.unwrap().policy.unwrap();
        assert_eq!((policy.action, policy.rules.into_vec()), (action, rules), "{spec}");
    }
    // Beside a source that is served, the other one goes alone.
    let read = authorization_policy(
        &object("rules: [{from: [{source: {requestPrincipals: ['*']}}, {source: {namespaces: [a]}}]}]"),
        &Context::default(),
    );
    let policy = read.model.unwrap().policy.unwrap();
    assert_eq!(policy.rules[0].clauses[0].matches.len(), 1);
}

#[test]
fn what_is_wrong_is_refused_with_the_path_and_the_way_out() {
    let rows = [
        ("action: ALOW", "spec.action", "ALLOW"),
        ("rulez: []", "spec.rulez", "rules"),
        ("rules: [{from: []}]", "spec.rules[0].from", "is empty"),
        ("rules: [{from: [{}]}]", "spec.rules[0].from[0].source", "is required"),
        ("rules: [{from: [{source: {}}]}]", "spec.rules[0].from[0].source", "says nothing"),
        ("rules: [{to: [{operation: {method: [GET]}}]}]", "spec.rules[0].to[0].operation.method", "methods"),
        (
            "rules: [{to: [{operation: {methods: ['']}}]}]",
            "spec.rules[0].to[0].operation.methods[0]",
            "is empty",
        ),
        (
            "rules: [{to: [{operation: {ports: ['http']}}]}]",
            "spec.rules[0].to[0].operation.ports[0]",
            "65535",
        ),
        (
            "rules: [{to: [{operation: {paths: ['/a/{b}']}}]}]",
            "spec.rules[0].to[0].operation.paths[0]",
            "brace",
        ),
        (
            "rules: [{to: [{operation: {paths: ['/{**}/{*}']}}]}]",
            "spec.rules[0].to[0].operation.paths[0]",
            "after {**}",
        ),
        (
            "rules: [{from: [{source: {ipBlocks: [10.0.0.0/99]}}]}]",
            "spec.rules[0].from[0].source.ipBlocks[0]",
            "no network",
        ),
        (
            "rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]",
            "spec.rules[0].from[0].source.serviceAccounts",
            "beside",
        ),
        ("rules: [{when: [{key: source.ipp, values: [a]}]}]", "spec.rules[0].when[0].key", "source.ip"),
        ("selector: {matchLabels: {app: 'a*'}}", "spec.selector.matchLabels.app", "wildcard"),
        (
            "selector: {matchLabels: {app: a}}\ntargetRefs: [{kind: Service, name: a}]",
            "spec.selector",
            "beside",
        ),
        ("targetRefs: [{kind: Pod, name: a}]", "spec.targetRefs[0].kind", "Service"),
        ("action: CUSTOM\nrules: [{}]", "spec.provider", "is required"),
        ("provider: {name: a}", "spec.provider", "CUSTOM"),
    ];
    for (spec, path, word) in rows {
        let read = authorization_policy(&object(spec), &Context::default());
        let found: Vec<_> = read.problems.iter().filter(|found| found.severity == Severity::Error).collect();
        assert_eq!(found.len(), 1, "{spec}: {found:?}");
        assert_eq!(found[0].path, path, "{spec}: {found:?}");
        assert!(found[0].message.contains(word), "{spec}: {found:?}");
        assert!(read.model.is_none_or(|model| model.policy.is_none()), "{spec}");
    }
}

#[test]
fn plain_intent_is_taken_with_a_warning() {
    let spec = "rules: [{to: [{operation: {ports: [80], methods: GET}}]}]";
    let read = authorization_policy(&object(spec), &Context::default());
    let paths: Vec<&str> = read.problems.iter().map(|found| found.path.as_str()).collect();
    assert_eq!(paths, ["spec.rules[0].to[0].operation.ports[0]", "spec.rules[0].to[0].operation.methods"]);
    let policy = read.model.unwrap().policy.unwrap();
    assert_eq!(*policy.rules[0].clauses[0].matches[0].destination_ports, [80]);
}

#[test]
fn what_a_broken_policy_selects_is_told_where_it_can_be() {
    let refused = |spec: &str| authorization_policy(&object(spec), &Context::default()).model;
    let labelled = refused("selector: {matchLabels: {app: a}}\nrules: [{form: []}]").unwrap();
    assert!(labelled.policy.is_none() && labelled.selector.len() == 1);
    assert!(refused("selecter: {matchLabels: {app: a}}").is_none());
    assert!(refused("selector: {matchLabel: {app: a}}").is_none());
    assert!(refused("selector: {matchLabels: {app: 1}}").is_none());
    let targeted = taken("targetRefs: [{group: '', kind: Service, name: web}]");
    assert_eq!(targeted.services, Some(vec!["web".to_owned()]));
}

#[test]
fn a_policy_that_is_not_served_as_a_whole_is_none_and_keeps_what_it_selects() {
    let selects = "selector: {matchLabels: {app: a}}\nrules: [{to: [{operation: {methods: [GET]}}]}]";
    let mut rows = vec![
        (object(&format!("action: AUDIT\n{selects}")), "spec.action"),
        (object(&format!("action: CUSTOM\nprovider: {{name: x}}\n{selects}")), "spec.action"),
    ];
    for (value, action) in [("true", "ALLOW"), ("True", "DENY"), ("1", "DENY")] {
        let mut dry = object(&format!("action: {action}\n{selects}"));
        dry.value["metadata"]["annotations"] = serde_json::json!({"istio.io/dry-run": value});
        rows.push((dry, "metadata.annotations[\"istio.io/dry-run\"]"));
    }
    for (object, path) in rows {
        let read = authorization_policy(&object, &Context::default());
        let model = read.model.unwrap();
        assert!(model.policy.is_none() && model.selector.len() == 1, "{path}");
        let [found] = read.problems.as_slice() else { panic!("{path}: {:?}", read.problems) };
        assert_eq!(
            (found.code.text(), found.path.as_str(), found.severity),
            ("HDL0003", path, Severity::Warning)
        );
        assert!(found.message.contains("what the policy selects is denied"), "{found:?}");
    }
    let mut wet = object(selects);
    wet.value["metadata"]["annotations"] = serde_json::json!({"istio.io/dry-run": "false"});
    assert!(authorization_policy(&wet, &Context::default()).model.unwrap().policy.is_some());
}
