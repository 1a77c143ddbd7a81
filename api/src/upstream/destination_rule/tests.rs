//! DestinationRules, right and wrong.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use heddle_core::upstream::model::*;
use serde_json::{Value, json};

use super::*;
use crate::diagnostic::Severity;

fn object(spec: &str) -> Object {
    let spec = crate::manifest::value(spec).unwrap().unwrap_or(Value::Null);
    let value = json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "a", "namespace": "prod"}, "spec": spec});
    Object::from_value(value).unwrap()
}

fn read(spec: &str) -> Normalised<DestinationRule> {
    destination_rule(&object(spec), &Context::default(), &|name| {
        (name == "there").then(|| Credential {
            ca: Some("CA".to_owned()),
            certificate: Some("CERT".to_owned()),
            private_key: Some("KEY".to_owned()),
        })
    })
}

fn taken(spec: &str) -> DestinationRule {
    let read = read(spec);
    assert_eq!(read.problems, [], "{spec}");
    read.model.unwrap()
}

#[test]
fn a_rule_with_everything_is_read() {
    let rule = taken(
        "host: reviews\nexportTo: ['.']\nworkloadSelector: {matchLabels: {app: web}}\ntrafficPolicy:\n  loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 60s}, localityLbSetting: {distribute: [{from: a/b/*, to: {a/b/*: 80, a/c/*: 20}}]}}\n  connectionPool: {tcp: {maxConnections: 100, connectTimeout: 30ms, tcpKeepalive: {time: 7200s, interval: 75s, probes: 3}, idleTimeout: 0s}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 2, maxRequestsPerConnection: 3, maxRetries: 4, idleTimeout: 30s, h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 5}}\n  outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 7, interval: 5m, baseEjectionTime: 15m, maxEjectionPercent: 100, minHealthPercent: 50, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3}\n  tls: {mode: ISTIO_MUTUAL}\n  portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: LEAST_REQUEST}}]\nsubsets:\n- name: v1\n  labels: {version: v1}\n  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}, maglev: {tableSize: 65537}}}}\n",
    );
    assert_eq!(rule.host, "reviews.prod.svc.cluster.local");
    assert_eq!(rule.workload_selector.as_ref().unwrap().get("app").unwrap(), "web");
    let balancer = rule.policy.load_balancer.as_ref().unwrap();
    assert_eq!(balancer.algorithm, Algorithm::RoundRobin);
    assert_eq!(
        balancer.warmup,
        Some(Warmup { duration: Duration::from_secs(60), minimum_percent: 10.0, aggression: 1.0 })
    );
    assert_eq!(balancer.locality.as_ref().unwrap().distribute[0].1.get("a/c/*"), Some(&20));
    let pool = rule.policy.connection_pool.as_ref().unwrap();
    assert_eq!(
        (pool.max_connections, pool.max_pending_requests, pool.max_requests),
        (Some(100), Some(1), Some(2))
    );
    assert_eq!((pool.h2_upgrade, pool.tcp_idle_timeout), (Some(true), Some(Duration::ZERO)));
    let outliers = rule.policy.outlier_detection.as_ref().unwrap();
    assert_eq!((outliers.consecutive_5xx, outliers.max_ejection_percent), (Some(0), Some(100)));
    assert_eq!(rule.policy.tls.as_ref().unwrap().mode, TlsMode::IstioMutual);
    assert!(rule.ports.contains_key(&80));
    let Algorithm::ConsistentHash { key, ring } =
        &rule.subsets[0].policy.load_balancer.as_ref().unwrap().algorithm
    else {
        panic!()
    };
    assert_eq!(*key, HashKey::Cookie { name: "user".into(), path: String::new(), ttl: Some(Duration::ZERO) });
    assert_eq!(*ring, Ring::Maglev(65_537));
}

#[test]
fn every_hash_key_is_read() {
    let rows = [
        ("{httpHeaderName: X-User}", HashKey::Header("x-user".into()), Ring::RingHash(1024)),
        ("{useSourceIp: true, ringHash: {minimumRingSize: 8}}", HashKey::SourceIp, Ring::RingHash(8)),
        ("{httpQueryParameterName: q, maglev: {}}", HashKey::Query("q".into()), Ring::Maglev(65_537)),
    ];
    for (text, key, ring) in rows {
        let rule = taken(&format!("host: a\ntrafficPolicy: {{loadBalancer: {{consistentHash: {text}}}}}"));
        let algorithm = rule.policy.load_balancer.unwrap().algorithm;
        assert_eq!(algorithm, Algorithm::ConsistentHash { key, ring }, "{text}");
    }
}

#[test]
fn what_is_wrong_is_refused_with_the_path_and_the_way_out() {
    let policy = |text: &str| format!("host: a\ntrafficPolicy: {{{text}}}");
    let rows = [
        ("{}".to_owned(), "spec.host", "is empty"),
        ("host: a\ntrafficPolicy: {}".to_owned(), "spec.trafficPolicy", "says nothing"),
        ("host: a\nsubsets: [{labels: {a: b}}]".to_owned(), "spec.subsets[0].name", "is required"),
        ("host: a\nsubsets: [{name: v1}, {name: v1}]".to_owned(), "spec.subsets[1].name", "another subset"),
        ("host: a\nsubsets: [{name: v_1}]".to_owned(), "spec.subsets[0].name", "not a subset"),
        (
            policy("loadBalancer: {simple: ROUNDROBIN}"),
            "spec.trafficPolicy.loadBalancer.simple",
            "ROUND_ROBIN",
        ),
        (
            policy("loadBalancer: {consistentHash: {}}"),
            "spec.trafficPolicy.loadBalancer.consistentHash",
            "nothing to hash",
        ),
        (
            policy("loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: a}}"),
            "spec.trafficPolicy.loadBalancer.consistentHash",
            "several",
        ),
        (
            policy("loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 10}}}"),
            "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize",
            "prime",
        ),
        (
            policy("loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}"),
            "spec.trafficPolicy.loadBalancer.warmup",
            "ROUND_ROBIN",
        ),
        (
            policy("loadBalancer: {warmup: {duration: 1s, minimumPercent: 150}}"),
            "spec.trafficPolicy.loadBalancer.warmup.minimumPercent",
            "0 to 100",
        ),
        (
            policy("loadBalancer: {warmup: {minimumPercent: 5}}"),
            "spec.trafficPolicy.loadBalancer.warmup.duration",
            "is required",
        ),
        (
            policy("loadBalancer: {warmup: {duration: 1s, aggression: 0.3}}"),
            "spec.trafficPolicy.loadBalancer.warmup.aggression",
            "1 or more",
        ),
        (
            policy("loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: 50}}]}}"),
            "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to",
            "expected 100",
        ),
        (
            policy("outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}"),
            "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0]",
            "itself",
        ),
        (policy("connectionPool: {}"), "spec.trafficPolicy.connectionPool", "neither"),
        (
            policy("connectionPool: {tcp: {maxConnections: -1}}"),
            "spec.trafficPolicy.connectionPool.tcp.maxConnections",
            "is -1",
        ),
        (
            policy("connectionPool: {tcp: {connectTimeout: 0s}}"),
            "spec.trafficPolicy.connectionPool.tcp.connectTimeout",
            "1ms",
        ),
        (
            policy("outlierDetection: {maxEjectionPercent: 101}"),
            "spec.trafficPolicy.outlierDetection.maxEjectionPercent",
            "0 to 100",
        ),
        (
            policy("outlierDetection: {consecutiveLocalOriginFailures: 5}"),
            "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures",
            "splitExternalLocalOriginErrors",
        ),
        (
            policy("tls: {mode: MUTUAL, clientCertificate: /a}"),
            "spec.trafficPolicy.tls.privateKey",
            "credentialName",
        ),
        (
            policy("tls: {mode: ISTIO_MUTUAL, caCertificates: /a}"),
            "spec.trafficPolicy.tls.caCertificates",
            "mesh's own",
        ),
        (
            policy("tls: {mode: SIMPLE, credentialName: a, caCertificates: /a}"),
            "spec.trafficPolicy.tls.caCertificates",
            "the Secret holds it",
        ),
        (
            policy("portLevelSettings: [{tls: {mode: DISABLE}}]"),
            "spec.trafficPolicy.portLevelSettings[0].port.number",
            "is required",
        ),
        ("host: a\nworkloadSelector: {}".to_owned(), "spec.workloadSelector.matchLabels", "is required"),
    ];
    for (spec, path, word) in rows {
        let read = read(&spec);
        let found: Vec<_> = read.problems.iter().filter(|found| found.severity == Severity::Error).collect();
        assert_eq!(found.len(), 1, "{spec}: {:?}", read.problems);
        assert_eq!(found[0].path, path, "{spec}: {found:?}");
        assert!(found[0].message.contains(word), "{spec}: {found:?}");
        assert!(read.model.is_none());
    }
}

#[test]
fn tls_that_cannot_be_done_refuses_connections() {
    let tls = |text: &str| {
        let read = read(&format!("host: a\ntrafficPolicy: {{tls: {{{text}}}}}"));
        let codes: Vec<&str> = read.problems.iter().map(|found| found.code.text()).collect();
        (read.model.unwrap().policy.tls.unwrap(), codes)
    };
    let (simple, codes) = tls("mode: SIMPLE");
    assert!(simple.broken.is_none());
    assert_eq!(codes, ["IST0128"]);
    let (system, codes) = tls("mode: SIMPLE, caCertificates: system, sni: x, subjectAltNames: [b]");
    assert_eq!((system.sni.as_deref(), system.broken, codes.len()), (Some("x"), None, 0));
    let (file, codes) = tls("mode: SIMPLE, caCertificates: /etc/ca.pem");
    assert!(file.broken.is_some());
    assert_eq!(codes, ["HDL0003"]);
    let (secret, codes) = tls("mode: MUTUAL, credentialName: there");
    assert_eq!(
        (secret.private_key.as_deref(), secret.ca.as_deref(), codes.len()),
        (Some("KEY"), Some("CA"), 0)
    );
    let (missing, _) = tls("mode: MUTUAL, credentialName: gone");
    assert_eq!(missing.broken.as_deref(), Some("Secret gone is not there"));
}

#[test]
fn what_is_not_served_or_deprecated_is_named() {
    let rows = [
        (
            "trafficPolicy: {connectionPool: {http: {http2KeepAlive: {interval: 15s, timeout: 5s}}}}",
            "HDL0003",
        ),
        ("trafficPolicy: {tunnel: {protocol: CONNECT, targetHost: a, targetPort: 80}}", "HDL0003"),
        ("trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}", "IST0133"),
        ("trafficPolicy: {loadBalancer: {warmupDurationSecs: 5s}}", "IST0133"),
        ("trafficPolicy: {outlierDetection: {consecutiveErrors: 5}}", "IST0133"),
        ("trafficPolicy: {portLevelSettings: [{port: 80, tls: {mode: DISABLE}}]}", "IST0133"),
        ("trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}", "IST0133"),
        ("subsets: {name: v1, labels: {version: v1}}", "IST0133"),
    ];
    for (spec, code) in rows {
        let read = read(&format!("host: a\n{spec}"));
        let codes: Vec<&str> = read.problems.iter().map(|found| found.code.text()).collect();
        assert_eq!(codes, [code], "{spec}: {:?}", read.problems);
        assert!(read.model.is_some());
    }
}
