//! Whose requests a route takes: ports, several parents, the Service's address, consumers' own namespaces, grants.

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;

use crate::conditions::{condition, conditions_of};
use crate::seen::{get, get_from};

pub(crate) fn weights(mesh: &Mesh) -> Result<()> {
    let tally = mesh.probe(&["requests", "http://split/", "--count", "2000"])?;
    let two = tally["versions"]["v2"].as_u64().unwrap_or(0);
    // Six standard deviations.
    ensure!(two.abs_diff(600) < 123 && tally["ok"] == 2000, "{}", tally["versions"]);
    Ok(())
}

pub(crate) fn ports(mesh: &Mesh) -> Result<()> {
    for (url, route) in
        [("ports", "ports"), ("ports:8081", "ports"), ("ports:9080", "-"), ("ports:8082", "-")]
    {
        let flag = if url.ends_with("8082") { "--http2-prior-knowledge" } else { "" };
        get(mesh, &format!("http://{url}/"), flag)?.status(200)?.got("x-route", route)?;
    }
    Ok(())
}

pub(crate) fn several_parents(mesh: &Mesh) -> Result<()> {
    for host in ["parent-a", "parent-b"] {
        for _ in 0..4 {
            get(mesh, &format!("http://{host}/"), "")?.by("v3")?;
        }
    }
    let all = conditions_of(mesh, "httproute", "parents", "default")?;
    let said: Vec<(&str, u64, &str, &str)> = all
        .iter()
        .map(|parent| {
            let reference = &parent["parentRef"];
            let accepted = &parent["conditions"][0];
            let text = |value: &'static str| accepted[value].as_str().unwrap_or_default();
            let name = reference["name"].as_str().unwrap_or_default();
            (name, reference["port"].as_u64().unwrap_or(0), text("status"), text("reason"))
        })
        .collect();
    let want = [
        ("parent-a", 0, "True", "Accepted"),
        ("parent-b", 80, "True", "Accepted"),
        ("parent-c", 0, "False", "NoMatchingParent"),
        ("parent-b", 81, "False", "NoMatchingParent"),
    ];
    ensure!(said == want, "{said:?}");
    Ok(())
}

pub(crate) fn the_address_counts(mesh: &Mesh) -> Result<()> {
    get(mesh, "http://fronted/", "")?.by("v2")?.got("x-route", "fronted")?;
    // Whatever the name.
    get(mesh, "http://fronted/", "-H host:unfronted")?.by("v2")?.got("x-route", "fronted")?;
    for _ in 0..3 {
        get(mesh, "http://unfronted/", "-H host:fronted")?.status(200)?.got("x-route", "-")?;
    }
    // Nor is a pod its Service.
    let pod = mesh.sandbox.pod_addresses("default", "echo")?;
    let pod = pod.first().context("no pod")?;
    for arguments in ["", "-H host:fronted"] {
        let seen = get(mesh, &format!("http://{pod}:8080/"), arguments)?;
        seen.status(200)?.got("x-route", "-")?;
    }
    Ok(())
}

pub(crate) fn beside_a_virtual_service(mesh: &Mesh) -> Result<()> {
    for _ in 0..5 {
        get(mesh, "http://both/", "")?.by("v2")?;
    }
    Ok(())
}

pub(crate) fn named_rules(mesh: &Mesh) -> Result<()> {
    get(mesh, "http://named/named", "")?.by("v1")?;
    get(mesh, "http://named/unnamed", "")?.by("v2")?;
    for (path, name) in [("/named", "the-name"), ("/unnamed", "default.named.1")] {
        let mut lines = Vec::new();
        eventually(std::time::Duration::from_secs(5), || {
            lines = mesh.access_log("node-1", &format!("GET {path} "))?;
            // What a pod of this node received has a line too.
            Ok(lines.iter().any(|line| line.ends_with(name)))
        })
        .with_context(|| format!("{path}: {name} is not the end of {lines:?}"))?;
    }
    Ok(())
}

pub(crate) fn consumers(mesh: &Mesh) -> Result<()> {
    let trusted = ("trusted", "caller");
    get_from(mesh, trusted, "http://consumed.default/", "")?.status(200)?.got("x-route", "consumer")?;
    get(mesh, "http://consumed.default/", "")?.status(200)?.got("x-route", "producer")?;
    ensure!(condition(mesh, "httproute", ("trusted", "consumed"), "ResolvedRefs")? == "True ResolvedRefs");
    // Without it the producer's counts for everybody.
    mesh.delete("httproute", "consumed", "trusted")?;
    get_from(mesh, trusted, "http://consumed.default/", "")?.status(200)?.got("x-route", "producer")?;
    mesh.delete("httproute", "consumed", "default")?;
    get_from(mesh, trusted, "http://consumed.default/", "")?.status(200)?.got("x-route", "-")?;
    Ok(())
}

pub(crate) fn grants(mesh: &Mesh) -> Result<()> {
    let call = |path: &str| get_from(mesh, ("trusted", "caller"), &format!("http://granted{path}"), "");
    let resolved = || condition(mesh, "httproute", ("trusted", "granted"), "ResolvedRefs");
    let grant = |name: &str, kind: &str, namespace: &str, to: &str| {
        mesh.apply(&format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {{name: {name}}}, \
             spec: {{from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {namespace}}}], to: [{{group: \"\", kind: Service{to}}}]}}}}"
        ))
    };
    call("/one")?.status(500)?;
    ensure!(resolved()? == "False RefNotPermitted", "{}", resolved()?);
    // Grants of another kind of route, from another namespace and to another name are none.
    grant("other-kind", "GRPCRoute", "trusted", "")?;
    grant("other-from", "HTTPRoute", "outside", "")?;
    grant("other-name", "HTTPRoute", "trusted", ", name: three")?;
    call("/one")?.status(500)?;
    grant("to-one", "HTTPRoute", "trusted", ", name: one")?;
    call("/one")?.by("v1")?;
    call("/two")?.status(500)?;
    ensure!(resolved()? == "False RefNotPermitted", "{}", resolved()?);
    grant("to-all", "HTTPRoute", "trusted", "")?;
    call("/two")?.by("v2")?;
    ensure!(resolved()? == "True ResolvedRefs", "{}", resolved()?);
    mesh.delete("referencegrant", "to-all", "default")?;
    mesh.delete("referencegrant", "to-one", "default")?;
    call("/one")?.status(500)?;
    ensure!(resolved()? == "False RefNotPermitted", "{}", resolved()?);
    Ok(())
}

pub(crate) fn protocols(mesh: &Mesh) -> Result<()> {
    // kubernetes.io/h2c: the application is spoken to in HTTP/2.
    get(mesh, "http://unfronted:8082/", "--http2-prior-knowledge")?.status(200)?;
    let reply = mesh.call("http://unfronted:8082/", &["--http2-prior-knowledge"])?.json()?;
    ensure!(reply["proto"] == "HTTP/2.0", "{reply}");
    let said = mesh.probe(&["websocket-client", "ws://sockets:80/chat", "--count", "5"])?;
    ensure!(said["status"] == 101 && said["echoed"] == 5 && said["whole"] == true, "{said}");
    Ok(())
}
