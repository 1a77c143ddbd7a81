//! PeerAuthentication: every mode, at every level, for every way in.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use heddle_tests::capture::Capture;
use heddle_tests::sandbox::{eventually, now};
use heddle_tests::world::World;

fn policy(namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{name: p, namespace: {namespace}}}, spec: {spec}}}"
    )
}

/// Whether the outsider gets through: by VIP, IPv4 and IPv6 the same.
fn outsider(world: &World) -> bool {
    let mut urls = vec!["http://echo.default".to_owned()];
    for ip in world.sandbox.pod_addresses("default", "echo").unwrap() {
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip };
        urls.push(format!("http://{host}:5678"));
    }
    let answers: Vec<bool> = urls.iter().map(|url| world.curl("outside", "outsider", url).is_ok()).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{urls:?}: {answers:?}");
    answers[0]
}

#[test]
fn modes_take_effect_at_mesh_namespace_and_workload_level() {
    let world = World::enrolled("t-mtls").unwrap();
    assert!(outsider(&world), "PERMISSIVE is the default");
    let steps = [
        ("istio-system", "{mtls: {mode: STRICT}}", false),
        ("default", "{mtls: {mode: PERMISSIVE}}", true),
        ("default", "{mtls: {mode: STRICT}}", false),
        (
            "default",
            "{selector: {matchLabels: {app: echo}}, mtls: {mode: STRICT}, portLevelMtls: {5678: {mode: PERMISSIVE}}}",
            true,
        ),
        (
            "default",
            "{selector: {matchLabels: {app: echo}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {5678: {mode: STRICT}}}",
            false,
        ),
    ];
    for (namespace, spec, through) in steps {
        world.apply(&policy(namespace, spec)).unwrap();
        assert_eq!(outsider(&world), through, "{namespace}: {spec}");
        assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo", "{namespace}: {spec}");
        let ready = world.sandbox.run(&[
            "sandbox",
            "wait",
            "pod",
            "-l",
            "app=echo",
            "--for",
            "ready",
            "--timeout",
            "5s",
        ]);
        assert!(ready.is_ok(), "probes fail under {namespace}: {spec}");
    }
}

#[test]
fn disable_is_published_as_no_tunnel() {
    let world = World::enrolled("t-disable").unwrap();
    world.apply(&policy("default", "{selector: {matchLabels: {app: echo}}, mtls: {mode: DISABLE}}")).unwrap();
    let capture = Capture::start(&world.sandbox, "node-1").unwrap();
    let since = now();
    assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo");
    let wire = capture.stop().unwrap();
    let ports: Vec<u16> =
        wire.opens_since(since).filter_map(|packet| packet.tcp.map(|tcp| tcp.destination)).collect();
    assert!(ports.contains(&5678) && !ports.contains(&15008), "{ports:?}");
    assert!(outsider(&world));
}

#[test]
fn a_security_kind_that_is_not_served_denies_what_it_selects() {
    let world = World::enrolled("t-unserved").unwrap();
    world
        .apply(
            "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: later, namespace: default}, \
             spec: {selector: {matchLabels: {app: echo}}, jwtRules: [{issuer: nobody}]}}",
        )
        .unwrap();
    assert!(world.curl("default", "client", "http://echo").is_err());
    assert!(world.probe(&["peer-client", "peers:7000"]).is_ok(), "what it does not select goes on");
    let shown =
        world.sandbox.run(&["sandbox", "get", "requestauthentication", "later", "-o", "json"]).unwrap();
    assert!(shown.contains("Unsupported"), "{shown}");
    world.sandbox.run(&["sandbox", "delete", "requestauthentication", "later"]).unwrap();
    world.sandbox.synced().unwrap();
    eventually(Duration::from_secs(5), || Ok(world.curl("default", "client", "http://echo").is_ok()))
        .unwrap();
}
