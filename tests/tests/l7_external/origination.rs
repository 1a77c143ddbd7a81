//! TLS that the client's agent originates, for requests and for bytes that nobody looks into, to a real server.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;
use serde_json::json;

use crate::world::{REQUEST, ask, ask_from, bytes, logged};

/// What comes of it: a part of the server's answer, or of the reason in the log.
#[derive(Clone, Copy)]
enum Outcome {
    Says(&'static str),
    Fails(&'static str),
}
use Outcome::{Fails, Says};

/// A destination: its host, the port of the site behind it, `tls` of its DestinationRule.
struct Target(&'static str, u16, &'static str, Outcome);

const TARGETS: &[Target] = &[
    Target(
        "simple.wild.example.com",
        8443,
        "{mode: SIMPLE, credentialName: roots}",
        Says("\"sni\":\"simple.wild.example.com\""),
    ),
    Target(
        "named.example.org",
        8443,
        "{mode: SIMPLE, credentialName: roots, sni: api.example.com}",
        Says("\"sni\":\"api.example.com\""),
    ),
    Target(
        "listed.example.org",
        8443,
        "{mode: SIMPLE, credentialName: roots, subjectAltNames: [api.example.com]}",
        Says("\"port\":8443"),
    ),
    Target(
        "mutual.wild.example.com",
        8444,
        "{mode: MUTUAL, credentialName: identity}",
        Says("CN=client.default"),
    ),
    Target(
        "anonymous.wild.example.com",
        8444,
        "{mode: SIMPLE, credentialName: roots}",
        Says("No required SSL certificate"),
    ),
    Target("trusting.example.org", 8446, "{mode: SIMPLE, insecureSkipVerify: true}", Says("\"port\":8446")),
    Target("clear.example.org", 8080, "{mode: DISABLE}", Says("\"port\":8080")),
    Target(
        "misnamed.example.org",
        8443,
        "{mode: SIMPLE, credentialName: roots}",
        Fails("not valid for name"),
    ),
    Target(
        "unlisted.wild.example.com",
        8443,
        "{mode: SIMPLE, credentialName: roots, subjectAltNames: [spiffe://elsewhere]}",
        Fails("none of subjectAltNames spiffe://elsewhere"),
    ),
    Target(
        "untrusted.wild.example.com",
        8443,
        "{mode: SIMPLE, credentialName: other-roots}",
        Fails("UnknownIssuer"),
    ),
    Target(
        "stranger.example.org",
        8446,
        "{mode: SIMPLE, credentialName: roots, sni: api.example.com}",
        Fails("UnknownIssuer"),
    ),
    Target(
        "expired.example.org",
        8445,
        "{mode: SIMPLE, credentialName: roots, sni: api.example.com}",
        Fails("expired"),
    ),
    Target("system.wild.example.com", 8443, "{mode: SIMPLE, caCertificates: system}", Fails("UnknownIssuer")),
    Target("meshed.wild.example.com", 8443, "{mode: ISTIO_MUTUAL}", Fails("ISTIO_MUTUAL")),
    Target(
        "filed.wild.example.com",
        8443,
        "{mode: SIMPLE, caCertificates: /etc/certs/ca.pem}",
        Fails("/etc/certs/ca.pem is a file of the pod"),
    ),
    Target(
        "missing.wild.example.com",
        8443,
        "{mode: SIMPLE, credentialName: not-there}",
        Fails("Secret not-there is not there"),
    ),
];

fn address(number: usize) -> String {
    format!("240.0.4.{}", number + 1)
}

/// ServiceEntries and DestinationRules of all targets.
pub(crate) fn manifests() -> String {
    let mut text = String::from("# Made by the test.\n");
    for (number, Target(host, port, tls, _)) in TARGETS.iter().enumerate() {
        let _written = write!(
            text,
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: tls-{number}}}, spec: {{hosts: [{host}], addresses: [{address}], resolution: DNS, \
             ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}, {{number: 9443, name: tcp, protocol: TCP, targetPort: {port}}}], \
             endpoints: [{{address: abroad.outside.svc.cluster.local}}]}}}}\n---\n\
             {{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: tls-{number}}}, spec: {{host: {host}, trafficPolicy: {{tls: {tls}}}}}}}\n---\n",
            address = address(number),
        );
    }
    text.push_str("{apiVersion: v1, kind: ConfigMap, metadata: {name: last}}\n");
    text
}

/// Each request is answered by the server, or 503 UF with the reason in the log.
pub(crate) fn requests(mesh: &Mesh) -> Result<()> {
    for (number, Target(host, _, tls, outcome)) in TARGETS.iter().enumerate() {
        let reply = ask(mesh, host, 80, &address(number))?;
        match outcome {
            Says(text) => ensure!(reply.body.contains(text), "{host} {tls}: {reply:?}"),
            Fails(why) => {
                ensure!(reply.status == 503, "{host} {tls}: {reply:?}");
                let told = eventually(Duration::from_secs(5), || logged(mesh, &[host, " 503 UF", why]));
                ensure!(told.is_ok(), "{host} {tls}: no {why:?} in {:?}", mesh.access_log("node-1", host)?);
            }
        }
    }
    Ok(())
}

/// Opaque connections reach the server through the same TLS, or are reset.
pub(crate) fn opaque(mesh: &Mesh) -> Result<()> {
    for (number, Target(host, _, tls, outcome)) in TARGETS.iter().enumerate() {
        let got = match bytes(mesh, &format!("{}:9443", address(number)), &[REQUEST]) {
            // Before the probe had even begun.
            Err(error) if format!("{error:#}").contains("reset by peer") => {
                json!({"end": "reset", "length": 0})
            }
            got => got?,
        };
        match outcome {
            Says(text) => {
                let found = got["text"].as_str().unwrap_or_default();
                // The host of the request is another; the server name is that of the cluster all the same.
                ensure!(found.contains(text) && got["end"] == "closed", "{host} {tls}: {got}");
            }
            Fails(why) => {
                ensure!(got["length"] == 0 && got["end"] == "reset", "{host} {tls}: {got}");
                let at = format!("{}:9443", address(number));
                let told = eventually(Duration::from_secs(5), || logged(mesh, &[&at, why]));
                ensure!(told.is_ok(), "{host} {tls}: no {why:?} in {:?}", mesh.access_log("node-1", &at)?);
            }
        }
    }
    Ok(())
}

/// A client certificate of a Secret is for pods of the rule's namespace, though the rule counts for others.
pub(crate) fn foreign(mesh: &Mesh) -> Result<()> {
    let at = TARGETS.iter().position(|target| target.0.starts_with("mutual")).unwrap_or_default();
    let asked = (TARGETS[at].0, 80, &*address(at));
    let reply = ask_from(mesh, ("trusted", "caller"), asked, &[])?;
    ensure!(reply.status == 503, "{reply:?}");
    Ok(())
}
