//! Which DestinationRule counts for whom. One that hashes the source shows by its one endpoint, one that takes turns by three.

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;

use super::{routes, service, versions};

const STICKS: &str = "loadBalancer: {consistentHash: {useSourceIp: true}}";
const TURNS: &str = "loadBalancer: {simple: ROUND_ROBIN}";

pub(super) fn objects() -> String {
    let mut all = String::new();
    for host in ["subsets", "selected", "ordered", "rooted", "unrooted", "hidden", "merged"] {
        all += &service(host, "place", 8080);
    }
    all += "\n---\n{apiVersion: v1, kind: Service, metadata: {name: ports}, spec: {selector: {app: place}, ports: [{name: http, \
            port: 80, targetPort: 8080}, {name: http-other, port: 81, targetPort: 8080}]}}";
    let subset = "labels: {app: place}";
    for (place, host, spec) in [
        (
            "default/ports",
            "ports",
            format!("{TURNS}, portLevelSettings: [{{port: {{number: 81}}, {STICKS}}}]"),
        ),
        ("default/subsets", "subsets", TURNS.to_owned()),
        ("default/selected", "selected", TURNS.to_owned()),
        ("default/ordered", "ordered", STICKS.to_owned()),
        ("trusted/ordered", "ordered", TURNS.to_owned()),
        ("heddle-system/rooted", "rooted", STICKS.to_owned()),
        ("heddle-system/unrooted", "unrooted", STICKS.to_owned()),
        ("default/unrooted", "unrooted", TURNS.to_owned()),
        ("default/hidden", "hidden", STICKS.to_owned()),
        ("default/merged-1", "merged", STICKS.to_owned()),
        ("default/merged-2", "merged", TURNS.to_owned()),
    ] {
        let more = match place {
            "default/subsets" => format!(
                ", subsets: [{{name: own, {subset}, trafficPolicy: {{{STICKS}}}}}, {{name: inherits, {subset}}}, {{name: of-port, \
                 {subset}, trafficPolicy: {{portLevelSettings: [{{port: {{number: 80}}, {STICKS}}}]}}}}]"
            ),
            "default/merged-2" => ", subsets: [{name: near, labels: {version: near}}]".to_owned(),
            "default/hidden" => ", exportTo: ['.']".to_owned(),
            _ => String::new(),
        };
        all += &written(
            place,
            &format!("host: {host}.default.svc.cluster.local, trafficPolicy: {{{spec}}}{more}"),
        );
    }
    let chosen = format!(
        "host: selected, workloadSelector: {{matchLabels: {{tier: web}}}}, trafficPolicy: {{{STICKS}}}"
    );
    all += &written("default/chosen", &chosen);
    let to = |host: &str, subset: &str| {
        format!(
            "{{match: [{{uri: {{prefix: /{subset}}}}}], route: [{{destination: {{host: {host}, subset: {subset}}}}}]}}"
        )
    };
    let whole = "{route: [{destination: {host: merged}}]}";
    all += &routes("subsets", &["own", "inherits", "of-port"].map(|name| to("subsets", name)).join(", "));
    all + &routes("merged", &format!("{}, {whole}", to("merged", "near")))
}

/// `namespace/name`.
fn written(place: &str, spec: &str) -> String {
    let (namespace, name) = place.split_once('/').unwrap_or(("default", place));
    format!(
        "\n---\n{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: {name}, namespace: {namespace}}}, \
         spec: {{{spec}}}}}"
    )
}

/// How many endpoints answer a pod.
fn answering(mesh: &Mesh, (namespace, pod): (&str, &str), url: &str, wanted: usize) -> Result<()> {
    let tally = mesh.probe_from(namespace, pod, &["requests", url, "--count", "24", "--connections", "2"])?;
    ensure!(
        versions(&tally).len() == wanted && tally["ok"] == 24,
        "{pod} to {url}, {wanted} wanted: {tally}"
    );
    Ok(())
}

const CLIENT: (&str, &str) = ("default", "client");
const TWIN: (&str, &str) = ("default", "twin");
const CALLER: (&str, &str) = ("trusted", "caller");

pub(super) fn overriding(mesh: &Mesh) -> Result<()> {
    for (url, wanted) in [
        ("http://ports/", 3),
        ("http://ports:81/", 1),
        ("http://subsets/own", 1),
        ("http://subsets/inherits", 3),
        ("http://subsets/of-port", 1),
        ("http://selected/", 1),
    ] {
        answering(mesh, CLIENT, url, wanted)?;
    }
    answering(mesh, TWIN, "http://selected/", 3)
}

pub(super) fn order(mesh: &Mesh) -> Result<()> {
    for (pod, host, wanted) in [
        (CLIENT, "ordered", 1),
        (CALLER, "ordered", 3),
        (CLIENT, "rooted", 1),
        (CALLER, "rooted", 1),
        (CLIENT, "unrooted", 3),
        (CALLER, "unrooted", 3),
        (CLIENT, "hidden", 1),
        (CALLER, "hidden", 3),
    ] {
        answering(mesh, pod, &format!("http://{host}.default/"), wanted)?;
    }
    Ok(())
}

pub(super) fn merged(mesh: &Mesh) -> Result<()> {
    answering(mesh, CLIENT, "http://merged/", 1)?;
    for _ in 0..6 {
        ensure!(mesh.version("http://merged/near", &[])? == "near", "the second rule's subset");
    }
    Ok(())
}
