//! What routes are told about themselves, and 500 where they lead nowhere.

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;
use serde_json::Value;

use crate::seen::get;

/// `status.parents`.
pub(crate) fn conditions_of(mesh: &Mesh, kind: &str, name: &str, namespace: &str) -> Result<Vec<Value>> {
    let text = mesh.sandbox.run(&["sandbox", "get", kind, name, "-n", namespace, "-o", "json"])?;
    let route: Value = serde_json::from_str(&text)?;
    Ok(route["status"]["parents"].as_array().with_context(|| format!("no parents in {route}"))?.clone())
}

/// `<status> <reason>` of a condition as the first parent has it; empty where there is none.
pub(crate) fn condition(mesh: &Mesh, kind: &str, place: (&str, &str), name: &str) -> Result<String> {
    let parents = conditions_of(mesh, kind, place.1, place.0)?;
    let all = parents.first().context("no parent")?["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|each| each["type"] == name).unwrap_or_default();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Ok(format!("{} {}", text("status"), text("reason")).trim().to_owned())
}

pub(crate) fn reasons(mesh: &Mesh) -> Result<()> {
    for (route, kind, want) in [
        ("split", "Accepted", "True Accepted"),
        ("split", "ResolvedRefs", "True ResolvedRefs"),
        ("split", "PartiallyInvalid", ""),
        ("wrong", "Accepted", "True Accepted"),
        ("wrong", "ResolvedRefs", "False InvalidKind"),
        ("wrong", "PartiallyInvalid", "True UnsupportedValue"),
        ("wrong-service", "Accepted", "True Accepted"),
        ("wrong-service", "ResolvedRefs", "False BackendNotFound"),
        ("wrong-port", "ResolvedRefs", "False BackendNotFound"),
        ("wrong-all", "Accepted", "False UnsupportedValue"),
        ("omitted", "ResolvedRefs", "True ResolvedRefs"),
    ] {
        let got = condition(mesh, "httproute", ("default", route), kind)?;
        ensure!(got == want, "{kind} of {route}: {got:?}, not {want:?}");
    }
    Ok(())
}

pub(crate) fn nowhere(mesh: &Mesh) -> Result<()> {
    for (url, status) in [
        ("wrong/kind", 500),
        ("wrong/right", 200),
        ("wrong/omitted", 500),
        ("wrong/empty", 500),
        ("wrong/weightless", 500),
        ("wrong/extension", 500),
        ("wrong/else", 404),
        ("wrong-service/", 500),
        ("wrong-port/", 500),
        ("split:8081/omitted", 500),
        ("split:8081/", 404),
    ] {
        get(mesh, &format!("http://{url}"), "")?.status(status)?;
    }
    // A backend that is not there keeps its share.
    let tally = mesh.probe(&["requests", "http://wrong/half", "--count", "400"])?;
    let lost = tally["statuses"]["500"].as_u64().unwrap_or(0);
    ensure!(lost.abs_diff(200) < 60 && tally["ok"].as_u64() == Some(400 - lost), "{tally}");
    Ok(())
}

pub(crate) fn observed_generations(mesh: &Mesh) -> Result<()> {
    let apply = |to: &str| {
        mesh.apply(&format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: bumped}}, spec: \
             {{parentRefs: [{{group: \"\", kind: Service, name: bumped}}], rules: [{{backendRefs: [{{name: {to}, port: 80}}]}}]}}}}"
        ))
    };
    let observed = || -> Result<(Vec<i64>, i64, String)> {
        let text = mesh.sandbox.run(&["sandbox", "get", "httproute", "bumped", "-o", "json"])?;
        let route: Value = serde_json::from_str(&text)?;
        let all = route["status"]["parents"][0]["conditions"].as_array().cloned().unwrap_or_default();
        let observed = all.iter().filter_map(|each| each["observedGeneration"].as_i64()).collect();
        let since = all.iter().map(|each| each["lastTransitionTime"].as_str().unwrap_or_default());
        let generation = route["metadata"]["generation"].as_i64().unwrap_or(0);
        Ok((observed, generation, since.collect::<Vec<_>>().join(" ")))
    };
    apply("one")?;
    get(mesh, "http://bumped/", "")?.by("v1")?;
    let (before, generation, since) = observed()?;
    ensure!(before == vec![generation; 2] && generation > 0, "{before:?} of generation {generation}");
    apply("two")?;
    get(mesh, "http://bumped/", "")?.by("v2")?;
    let (after, bumped, still) = observed()?;
    ensure!(bumped == generation + 1 && after == vec![bumped; 2], "{after:?} of generation {bumped}");
    ensure!(still == since, "the time of a transition is not that of the last look: {since} {still}");
    // It was wrong, and says since when.
    apply("nowhere")?;
    ensure!(condition(mesh, "httproute", ("default", "bumped"), "ResolvedRefs")? == "False BackendNotFound");
    Ok(())
}
