//! What the mesh config says of traffic where no object does. It counts for everybody, so each case has the world to itself.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::suite::{self, Case};

const HOSTS: &[&str] = &["placed", "ruled", "routed", "bare"];

const CASES: &[Case<Mesh>] = &[
    ("retries_are_as_the_mesh_says_where_no_rule_does", retries),
    ("places_count_as_the_mesh_says_where_no_rule_does", places),
    ("who_sees_an_object_that_does_not_say_is_as_the_mesh_says", exports),
];

fn main() -> ExitCode {
    suite::run(|| Mesh::up("t-l7-mesh", HOSTS, include_str!("objects.yaml")), 1, CASES)
}

/// Replaces the mesh config.
fn mesh_config(mesh: &Mesh, text: &str) -> Result<()> {
    let text = serde_json::to_string(text)?;
    mesh.apply(&format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: heddle, namespace: heddle-system}}, data: {{mesh: {text}}}}}"
    ))?;
    Ok(())
}

/// How many pods answer.
fn answering(mesh: &Mesh, (namespace, pod): (&str, &str), url: &str) -> Result<usize> {
    let tally = mesh.probe_from(namespace, pod, &["requests", url, "--count", "24", "--connections", "2"])?;
    ensure!(tally["ok"] == 24, "{url}: {tally}");
    Ok(tally["pods"].as_object().map_or(0, serde_json::Map::len))
}

fn retries(mesh: &Mesh) -> Result<()> {
    // Each pod fails the first of a key: the first answer of three comes from the fourth try.
    let ask = |key: &str| mesh.call("http://bare/?fail=1", &["-H", &format!("x-key: {key}")]);
    mesh_config(mesh, "{}")?;
    ensure!(ask("default")?.status == 503, "a 503 is not among Istio's defaults");
    ensure!(mesh.seen("default")? == 1, "it was sent once");
    mesh_config(mesh, "defaultHttpRetryPolicy: {attempts: 3, retryOn: '503', backoff: 1ms}")?;
    let again = ask("mesh")?;
    ensure!(again.status == 200 && mesh.seen("mesh")? == 4, "{again:?}");
    mesh_config(mesh, "defaultHttpRetryPolicy: {attempts: 0}")?;
    ensure!(ask("none")?.status == 503 && mesh.seen("none")? == 1, "none at all");
    mesh_config(mesh, "{}")
}

fn places(mesh: &Mesh) -> Result<()> {
    for (node, zone) in [("node-1", "z1"), ("node-2", "z2")] {
        let labels = ["topology.kubernetes.io/region=r1", &format!("topology.kubernetes.io/zone={zone}")];
        mesh.sandbox.run(&["sandbox", "label", "node", node, labels[0], labels[1]])?;
    }
    mesh.sandbox.synced()?;
    let client = ("default", "client");
    ensure!(answering(mesh, client, "http://placed/")? == 1, "the nearer one, by default");
    mesh_config(mesh, "localityLbSetting: {enabled: false}")?;
    ensure!(answering(mesh, client, "http://placed/")? == 3, "places do not count");
    mesh_config(mesh, "localityLbSetting: {distribute: [{from: 'r1/*', to: {'r1/z2/*': 100}}]}")?;
    ensure!(answering(mesh, client, "http://placed/")? == 2, "all of it to the other zone");
    mesh_config(mesh, "{}")?;
    ensure!(answering(mesh, client, "http://placed/")? == 1, "as it was");
    Ok(())
}

fn exports(mesh: &Mesh) -> Result<()> {
    let caller = ("trusted", "caller");
    let routed = || anyhow::Ok(mesh.call_from("trusted", "caller", "http://routed.default/", &[])?.status);
    ensure!(answering(mesh, caller, "http://ruled.default/")? == 1, "the rule is everybody's");
    ensure!(routed()? == 418, "the route is everybody's");
    mesh_config(mesh, "defaultDestinationRuleExportTo: ['.']")?;
    ensure!(answering(mesh, caller, "http://ruled.default/")? == 3, "the rule is its namespace's");
    ensure!(answering(mesh, ("default", "client"), "http://ruled/")? == 1, "where it still counts");
    ensure!(routed()? == 418, "of routes nothing was said");
    mesh_config(mesh, "defaultVirtualServiceExportTo: ['.']")?;
    ensure!(answering(mesh, caller, "http://ruled.default/")? == 1, "the rule is everybody's again");
    ensure!(routed()? == 200, "the route is its namespace's");
    ensure!(mesh.call("http://routed/", &[])?.status == 418, "where it still counts");
    mesh_config(mesh, "{}")?;
    ensure!(routed()? == 418, "as it was");
    Ok(())
}
