//! Findings across objects; what is right finds nothing.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::manifest;

const WORLD: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: two, namespace: shop}, spec: {selector: {app: web}, ports: [{port: 80, name: http}, {port: 81, name: b}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: data}, spec: {selector: {app: db}, ports: [{port: 5432}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web, version: v1}}, spec: {containers: [{name: a, image: b}]}}
---
";

/// (code, path) of what is found, warnings of the single objects left out.
fn found(text: &str) -> Vec<(String, String)> {
    let text = format!("{WORLD}{text}");
    let parsed = manifest::parse("f", &text);
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    let objects: Vec<&Object> = parsed.objects.iter().map(|(_, object)| object).collect();
    let findings = analyze(&objects).into_iter();
    findings.map(|finding| (finding.problem.code.text().to_owned(), finding.problem.path)).collect()
}

fn vs(name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}, namespace: shop}}, spec: {{{spec}}}}}\n"
    )
}

fn object(api: &str, kind: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: {api}, kind: {kind}, metadata: {{name: {}, namespace: shop}}, spec: {{{spec}}}}}\n",
        kind.to_lowercase()
    )
}

const DR: &str = "networking.istio.io/v1";
const GATEWAY: &str = "gateway.networking.k8s.io/v1";

#[test]
fn what_is_right_finds_nothing() {
    let text = [
        vs("a", "hosts: [web], http: [{route: [{destination: {host: web, subset: v1}}]}]"),
        vs("b", "hosts: [two], http: [{match: [{uri: {prefix: /a}}], delegate: {name: c}}, {route: [{destination: {host: two, port: {number: 81}}}, {destination: {host: db.data.svc.cluster.local}}]}]".replace("}}, {destination", "}, weight: 1}, {destination").as_str()),
        vs("c", "http: [{route: [{destination: {host: web}}]}]"),
        object(DR, "DestinationRule", "host: web, subsets: [{name: v1, labels: {version: v1}}]"),
        object("security.istio.io/v1", "AuthorizationPolicy", "selector: {matchLabels: {app: web}}, rules: [{from: [{source: {namespaces: [shop]}}]}]"),
        object(GATEWAY, "GRPCRoute", "parentRefs: [{group: '', kind: Service, name: db, namespace: data}], rules: [{backendRefs: [{name: web, port: 80}]}]"),
        object("networking.k8s.io/v1", "NetworkPolicy", "podSelector: {}, ingress: [{ports: [{port: 80}, {port: 15008}]}, {from: []}]"),
    ];
    assert_eq!(found(&text.concat()), []);
}

#[test]
fn what_is_not_there_is_named() {
    let to = |text: &str| vs("a", &format!("hosts: [web], http: [{{route: [{{destination: {{{text}}}}}]}}]"));
    let gateway = |backend: &str| {
        object(
            GATEWAY,
            "HTTPRoute",
            &format!(
                "parentRefs: [{{group: '', kind: Service, name: two}}], rules: [{{backendRefs: [{backend}]}}]"
            ),
        )
    };
    let rows = [
        (to("host: wbe"), "IST0101", "spec.http[0].route[0].destination.host"),
        (to("host: web.shop"), "IST0101", "spec.http[0].route[0].destination.host"),
        (to("host: web, subset: v9"), "IST0101", "spec.http[0].route[0].destination.subset"),
        (to("host: web, port: {number: 81}"), "IST0101", "spec.http[0].route[0].destination.port.number"),
        (to("host: two"), "IST0112", "spec.http[0].route[0].destination"),
        (
            vs("a", "hosts: [web], http: [{mirror: {host: x}, route: [{destination: {host: web}}]}]"),
            "IST0101",
            "spec.http[0].mirror.host",
        ),
        (
            vs("a", "hosts: [web], tcp: [{route: [{destination: {host: x}}]}]"),
            "IST0101",
            "spec.tcp[0].route[0].destination.host",
        ),
        (vs("a", "hosts: [web], http: [{delegate: {name: x}}]"), "IST0101", "spec.http[0].delegate"),
        (vs("a", "hosts: [web], http: [{delegate: {name: a}}]"), "HDL0008", "spec.http[0].delegate"),
        (vs("a", "http: [{route: [{destination: {host: web}}]}]"), "HDL0008", "spec.hosts"),
        (object(DR, "DestinationRule", "host: x"), "IST0174", "spec.host"),
        (object(DR, "DestinationRule", "host: '*.example.com'"), "IST0174", "spec.host"),
        (
            object(DR, "DestinationRule", "host: web, subsets: [{name: v2, labels: {version: v2}}]"),
            "IST0173",
            "spec.subsets[0].labels",
        ),
        (
            object(
                DR,
                "DestinationRule",
                "host: web, trafficPolicy: {tls: {mode: MUTUAL, credentialName: x}}",
            ),
            "IST0101",
            "spec.trafficPolicy",
        ),
        (
            object(DR, "ServiceEntry", "hosts: [a.com], ports: [{number: 1, name: a, protocol: TCP}]"),
            "IST0134",
            "spec.ports[0].protocol",
        ),
        (
            object("security.istio.io/v1", "AuthorizationPolicy", "selector: {matchLabels: {app: x}}"),
            "IST0127",
            "spec.selector",
        ),
        (
            object(
                "security.istio.io/v1",
                "AuthorizationPolicy",
                "rules: [{from: [{source: {namespaces: [x]}}]}]",
            ),
            "IST0101",
            "spec.rules[0].from",
        ),
        (
            object("security.istio.io/v1", "AuthorizationPolicy", "targetRefs: [{kind: Service, name: x}]"),
            "IST0101",
            "spec.targetRefs",
        ),
        (gateway("{name: x, port: 80}"), "IST0101", "spec.rules[0].backendRefs[0]"),
        (gateway("{name: web, port: 81}"), "IST0101", "spec.rules[0].backendRefs[0].port"),
        (gateway("{name: db, namespace: data, port: 5432}"), "HDL0011", "spec.rules[0].backendRefs[0]"),
        (gateway("{name: web, port: 80, weight: 0}"), "HDL0012", "spec.rules[0].backendRefs"),
        (
            object(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                "podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]",
            ),
            "HDL0013",
            "spec.ingress[0].ports",
        ),
    ];
    for (text, code, path) in rows {
        assert_eq!(found(&text), [(code.to_owned(), path.to_owned())], "{text}");
    }
}

#[test]
fn grants_and_the_mesh_decide_what_is_allowed() {
    let route = object(
        GATEWAY,
        "HTTPRoute",
        "parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: db, namespace: data, port: 5432}]}]",
    );
    let grant = "---\n{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: a, namespace: data}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: '', kind: Service}]}}\n";
    assert_eq!(found(&format!("{route}{grant}")), []);
    let outside = "---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a, namespace: data}, spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}}\n";
    assert_eq!(found(outside), []);
}

#[test]
fn objects_that_speak_for_one_host_are_told() {
    let rule = "hosts: [web], http: [{route: [{destination: {host: web}}]}]";
    let both = found(&format!("{}{}", vs("a", rule), vs("b", rule)));
    assert_eq!(
        both,
        [
            ("IST0109".to_owned(), "spec.hosts[0]".to_owned()),
            ("IST0109".to_owned(), "spec.hosts[0]".to_owned())
        ]
    );
    let apart = format!(
        "{}{}",
        vs("a", &format!("exportTo: [x], {rule}")),
        vs("b", &format!("exportTo: [z], {rule}"))
    );
    assert_eq!(found(&apart), []);
    let route = object(
        GATEWAY,
        "HTTPRoute",
        "parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]",
    );
    assert_eq!(
        found(&format!("{}{route}", vs("a", rule))),
        [("HDL0009".to_owned(), "spec.hosts[0]".to_owned())]
    );
}

#[test]
fn rules_that_no_request_reaches_are_told() {
    let to = "route: [{destination: {host: web}}]";
    let rows: [(String, &[(&str, &str)]); 6] = [
        (format!("{{{to}}}, {{match: [{{uri: {{prefix: /a}}}}], {to}}}"), &[("IST0130", "spec.http[1]")]),
        (format!("{{match: [{{uri: {{prefix: /}}}}], {to}}}, {{{to}}}"), &[("IST0130", "spec.http[1]")]),
        (
            format!(
                "{{match: [{{uri: {{prefix: /a}}}}], {to}}}, {{match: [{{uri: {{exact: /a/b}}}}], {to}}}"
            ),
            &[("IST0130", "spec.http[1]")],
        ),
        (
            format!(
                "{{match: [{{uri: {{prefix: /a}}}}], {to}}}, {{match: [{{uri: {{exact: /a/b}}}}, {{uri: {{exact: /c}}}}], {to}}}"
            ),
            &[("IST0131", "spec.http[1].match[0]")],
        ),
        (
            format!(
                "{{match: [{{uri: {{prefix: /a}}, port: 80}}], {to}}}, {{match: [{{uri: {{exact: /a/b}}}}], {to}}}"
            ),
            &[],
        ),
        (
            format!(
                "{{match: [{{uri: {{prefix: /b}}}}], {to}}}, {{match: [{{uri: {{prefix: /a}}}}], {to}}}, {{{to}}}"
            ),
            &[],
        ),
    ];
    for (rules, want) in rows {
        let want: Vec<(String, String)> =
            want.iter().map(|(code, path)| ((*code).to_owned(), (*path).to_owned())).collect();
        assert_eq!(found(&vs("a", &format!("hosts: [web], http: [{rules}]"))), want, "{rules}");
    }
}
