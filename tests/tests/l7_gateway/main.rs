//! Gateway API routes attached to Services: HTTPRoute, GRPCRoute, and who wins beside a VirtualService.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;
use heddle_tests::suite::{self, Case};
use serde_json::Value;

const HOSTS: &[&str] = &["split", "matched", "filtered", "rpc", "both", "consumed", "timed"];

const CASES: &[Case<Mesh>] = &[
    ("weights_split_between_services", split),
    ("the_most_specific_match_wins", matched),
    ("filters_change_redirect_rewrite_and_mirror", filtered),
    ("timeouts_are_504", timed),
    ("grpc_routes_match_services_and_methods", rpc),
    ("a_gateway_api_route_goes_before_a_virtual_service", both),
    ("a_consumer_route_counts_in_its_own_namespace_alone", consumed),
    ("conditions_say_what_is_accepted_and_what_is_not_resolved", conditions),
];

fn main() -> ExitCode {
    suite::run(|| Mesh::up("t-l7-gw", HOSTS, &manifests()), 4, CASES)
}

/// `one`, `two` and `three` stand for one version each.
fn manifests() -> String {
    let version = |name: &str, version: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{selector: {{app: echo, version: {version}}}, \
             ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: grpc, port: 7070}}]}}}}\n---\n"
        )
    };
    let services = [("one", "v1"), ("two", "v2"), ("three", "v3")].map(|(name, each)| version(name, each));
    services.concat() + include_str!("gateway.yaml")
}

fn expect(mesh: &Mesh, want: &[(&str, &[&str], &str)]) -> Result<()> {
    for (url, arguments, version) in want {
        let got = mesh.version(url, arguments)?;
        ensure!(got == *version, "curl {arguments:?} {url}: {got}, not {version}");
    }
    Ok(())
}

fn split(mesh: &Mesh) -> Result<()> {
    let tally = mesh.probe(&["requests", "http://split/", "--count", "2000"])?;
    let two = tally["versions"]["v2"].as_u64().unwrap_or(0);
    ensure!(two.abs_diff(600) < 90 && tally["ok"] == 2000, "{}", tally["versions"]);
    Ok(())
}

fn matched(mesh: &Mesh) -> Result<()> {
    expect(
        mesh,
        &[
            ("http://matched/exact", &[], "v3"),
            ("http://matched/pre/exact", &[], "v2"),
            ("http://matched/prefix", &[], "v1"),
            ("http://matched/", &["-H", "x-version: two"], "v2"),
            ("http://matched/?version=three", &[], "v3"),
            ("http://matched/", &["-X", "POST"], "v3"),
            ("http://matched/", &[], "v1"),
        ],
    )
}

fn filtered(mesh: &Mesh) -> Result<()> {
    let said = mesh.call("http://filtered/headers", &["-H", "x-gone: 1"])?;
    let headers = said.json()?["headers"].clone();
    ensure!(headers["x-set"] == "set" && headers["x-gone"].is_null(), "{said:?}");
    ensure!(said.header("x-answer").as_deref() == Some("yes"), "{said:?}");
    let moved = mesh.call("http://filtered/old/page", &[])?;
    ensure!(moved.status == 302, "{moved:?}");
    ensure!(moved.header("location").as_deref() == Some("http://filtered/new/page"), "{moved:?}");
    let rewritten = mesh.call("http://filtered/api/v1/x", &[])?.json()?;
    ensure!(rewritten["path"] == "/x" && rewritten["host"] == "rewritten.example.com", "{rewritten}");
    mesh.call("http://filtered/mirror", &["-H", "x-key: gw-mirror"])?;
    let mirrored = eventually(Duration::from_secs(3), || Ok(mesh.seen("gw-mirror")? == 2));
    ensure!(mirrored.is_ok(), "seen {} times", mesh.seen("gw-mirror")?);
    let broken = mesh.call("http://filtered/nowhere", &[])?;
    ensure!(broken.status == 500, "a backend that is not there: {broken:?}");
    Ok(())
}

fn timed(mesh: &Mesh) -> Result<()> {
    let late = mesh.call("http://timed/?delay=3000", &[])?;
    ensure!(late.status == 504 && late.seconds < 2.5, "{late:?}");
    ensure!(mesh.call("http://timed/", &[])?.status == 200);
    Ok(())
}

fn rpc(mesh: &Mesh) -> Result<()> {
    let version = |kind: &str, more: &[&str]| -> Result<Value> {
        let said = mesh.probe(&[&["grpc-client", "http://rpc:7070", "--kind", kind], more].concat())?;
        ensure!(said["code"] == 0, "{kind}: {said}");
        Ok(said["replies"][0]["version"].clone())
    };
    ensure!(version("unary", &[])? == "v2");
    ensure!(version("converse", &[])? == "v3");
    ensure!(version("unary", &["--header", "x-version=three"])? == "v3");
    Ok(())
}

fn both(mesh: &Mesh) -> Result<()> {
    expect(mesh, &[("http://both/", &[], "v2")])
}

fn consumed(mesh: &Mesh) -> Result<()> {
    let inside = mesh.call_from("trusted", "caller", "http://consumed.default/", &[])?;
    ensure!(inside.header("x-consumer").as_deref() == Some("trusted"), "{inside:?}");
    let outside = mesh.call("http://consumed.default/", &[])?;
    ensure!(outside.status == 200 && outside.header("x-consumer").is_none(), "{outside:?}");
    Ok(())
}

fn conditions(mesh: &Mesh) -> Result<()> {
    let condition = |name: &str, kind: &str| -> Result<(String, String)> {
        let text = mesh.sandbox.run(&["sandbox", "get", "httproute", name, "-o", "json"])?;
        let route: Value = serde_json::from_str(&text)?;
        let all = route["status"]["parents"][0]["conditions"].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|each| each["type"] == kind).unwrap_or_default();
        let word = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Ok((word("status"), word("reason")))
    };
    ensure!(condition("split", "Accepted")? == ("True".into(), "Accepted".into()));
    ensure!(condition("split", "ResolvedRefs")? == ("True".into(), "ResolvedRefs".into()));
    ensure!(condition("filtered", "ResolvedRefs")? == ("False".into(), "BackendNotFound".into()));
    Ok(())
}
