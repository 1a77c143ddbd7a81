//! One story by every tool: of policies that are not served, and of input that is bad, while everything else goes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;
use serde_json::{Value, json};

/// A server of its own, so that its policies deny nobody else.
pub(crate) const JUDGED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: judged, labels: {app: judged}}
spec:
  nodeName: node-2
  containers:
  - {name: http, image: heddle-probe, args: [http-server, --port, '8080'], readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}}
---
{apiVersion: v1, kind: Service, metadata: {name: judged}, spec: {selector: {app: judged}, ports: [{name: http, port: 80, targetPort: 8080}]}}
";

/// Findings about one object. `analyze` ends with 1 where any is an error.
fn analyzed(mesh: &Mesh, kind: &str, name: &str) -> Result<Vec<Value>> {
    let output = mesh.sandbox.output(&["analyze", "-o", "json"])?;
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).context("analyze prints an array")?;
    let wrong = all.iter().any(|each| each["severity"] == "error");
    ensure!(output.status.code() == Some(i32::from(wrong)), "{:?}: {all:?}", output.status);
    let of = |each: &Value| each["kind"] == kind && each["name"] == name;
    Ok(all.into_iter().filter(of).collect())
}

fn object(mesh: &Mesh, kind: &str, name: &str) -> Result<Value> {
    let text = mesh.sandbox.run(&["sandbox", "get", kind, name, "-o", "json"])?;
    serde_json::from_str(&text).with_context(|| text)
}

pub(crate) fn unserved_policies(mesh: &Mesh) -> Result<()> {
    let selects = "selector: {matchLabels: {app: judged}}";
    let answers = |status: u16| {
        let so =
            eventually(Duration::from_secs(10), || Ok(mesh.call("http://judged/", &[])?.status == status));
        so.map(drop).with_context(|| format!("not {status}"))
    };
    answers(200)?;
    for (metadata, spec) in [
        (
            ", annotations: {istio.io/dry-run: \"true\"}",
            "action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]",
        ),
        (", annotations: {istio.io/dry-run: \"true\"}", "rules: [{}]"),
        ("", "action: AUDIT, rules: [{to: [{operation: {methods: [DELETE]}}]}]"),
        ("", "action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: {methods: [DELETE]}}]}]"),
        ("", "action: DENY, rules: [{when: [{key: 'request.headers[x-a]', values: [b]}]}]"),
    ] {
        let said = mesh.apply(&format!(
            "{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {{name: unserved{metadata}}}, spec: {{{selects}, {spec}}}}}"
        ))?;
        ensure!(said.contains("not served"), "apply says so: {said}");
        answers(403).with_context(|| spec.to_owned())?;
        let status = object(mesh, "authorizationpolicy", "unserved")?["status"].clone();
        let condition = &status["conditions"][0];
        ensure!(condition["type"] == "Accepted" && condition["status"] == "False", "{spec}: {status}");
        ensure!(condition["reason"] == "Unsupported", "{spec}: {status}");
        ensure!(condition["message"].as_str().unwrap_or_default().contains("not served"), "{spec}: {status}");
        let found = analyzed(mesh, "AuthorizationPolicy", "unserved")?;
        ensure!(found.iter().any(|each| each["code"] == "HDL0003"), "{spec}: {found:?}");
        mesh.delete("authorizationpolicy", "unserved", "default")?;
        answers(200)?;
    }
    Ok(())
}

/// Wrong beside others: it is taken, and its status and `analyze` say what is wrong.
pub(crate) fn wrong_together(mesh: &Mesh) -> Result<()> {
    let vs = |name: &str, spec: &str| {
        format!(
            "---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n"
        )
    };
    let to = "route: [{destination: {host: counted, port: {number: 80}}}]";
    let rows = [
        (
            "conflicting",
            vs("bad-a", &format!("hosts: [bad.example.com], http: [{{{to}}}]"))
                + &vs("bad-b", &format!("hosts: [bad.example.com], http: [{{{to}}}]")),
            "IST0109",
            "bad-b has the host",
            "warning",
        ),
        (
            "a circle",
            vs("bad-a", "hosts: [bad.example.com], http: [{delegate: {name: bad-a}}]"),
            "",
            "a cycle",
            "error",
        ),
        (
            "an unknown host",
            vs(
                "bad-a",
                "hosts: [bad.example.com], http: [{route: [{destination: {host: countet, port: {number: 80}}}]}]",
            ),
            "IST0101",
            "did you mean",
            "error",
        ),
        (
            "a missing subset",
            vs(
                "bad-a",
                "hosts: [bad.example.com], http: [{route: [{destination: {host: counted, subset: v9, port: {number: 80}}}]}]",
            ),
            "IST0101",
            "v9",
            "error",
        ),
    ];
    for (what, manifest, code, word, severity) in rows {
        mesh.apply(&manifest)?;
        let found = analyzed(mesh, "VirtualService", "bad-a")?;
        let wrong = found.iter().any(|each| each["severity"] == "error");
        ensure!(wrong == (severity == "error") && !found.is_empty(), "{what}: {found:?}");
        let hit = |each: &Value| {
            (code.is_empty() || each["code"] == code)
                && each["message"].as_str().unwrap_or_default().contains(word)
        };
        ensure!(found.iter().any(hit), "{what}: {found:?}");
        let mut status = Value::Null;
        eventually(Duration::from_secs(15), || {
            status = object(mesh, "virtualservice", "bad-a")?["status"].clone();
            Ok(status["validationMessages"].to_string().contains(word))
        })
        .with_context(|| format!("{what}: {status}"))?;
        ensure!(mesh.call("http://counted/", &[])?.status == 200, "{what}: others go on");
        for name in
            ["bad-a", "bad-b"].into_iter().filter(|name| manifest.contains(&format!("name: {name}}}, spec")))
        {
            mesh.delete("virtualservice", name, "default")?;
        }
    }
    ensure!(analyzed(mesh, "VirtualService", "bad-a")?.is_empty(), "nothing is left of it");
    Ok(())
}

/// Wrong by itself: `apply` refuses it, and where it comes another way its status says why.
pub(crate) fn wrong_alone(mesh: &Mesh) -> Result<()> {
    let to = json!([{"destination": {"host": "counted"}}]);
    let nothing = json!([{"destination": {"host": "counted"}, "weight": 0}, {"destination": {"host": "counted"}, "weight": 0}]);
    let fault = json!({"abort": {"percentage": {"value": 101}, "httpStatus": 500}});
    let matched = |regex: &str| json!({"match": [{"uri": {"regex": regex}}], "route": to.clone()});
    let folder = mesh.sandbox.directory();
    for (what, rule, word) in [
        ("empty", None, "has no rule"),
        ("unparsable", Some(matched("([")), "regex"),
        ("catastrophic", Some(matched("(((a{1000}){1000}){1000})")), "regex"),
        ("weightless", Some(json!({"route": nothing})), "weight"),
        ("over-100", Some(json!({"fault": fault, "route": to.clone()})), "percentage"),
    ] {
        let spec =
            rule.map_or_else(|| json!({}), |rule| json!({"hosts": ["bad.example.com"], "http": [rule]}));
        let text = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": what, "namespace": "default"}, "spec": spec,
        })
        .to_string();
        let refused = mesh.apply(&text).err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(refused.contains(what) && refused.contains(word), "apply refuses {what}: {refused:?}");
        let kind = "virtualservices.networking.istio.io/default";
        let file = folder.join(format!("objects/{kind}/{what}.json"));
        std::fs::create_dir_all(file.parent().context("folder")?)?;
        std::fs::write(&file, &text)?;
        let status = folder.join(format!("status/{kind}/{what}.json"));
        let mut told = String::new();
        let seen = eventually(Duration::from_secs(15), || {
            told = std::fs::read_to_string(&status).unwrap_or_default();
            Ok(told.contains("\"Invalid\"") && told.contains(word))
        });
        std::fs::remove_file(&file)?;
        seen.with_context(|| format!("{what}: {told:?}"))?;
        ensure!(mesh.call("http://counted/", &[])?.status == 200, "{what}: others go on");
    }
    Ok(())
}

/// 10,000 routes and an object of a mebibyte are in force; what is too large is refused by size, and waits end.
pub(crate) fn large(mesh: &Mesh) -> Result<()> {
    let rule = |number: usize| {
        format!(
            "{{match: [{{uri: {{exact: /path/{number}}}}}], directResponse: {{status: {}}}}}",
            200 + number % 100
        )
    };
    let rules: Vec<String> = (0..10_000).map(rule).collect();
    let object = |rules: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: many}}, spec: {{hosts: [many.example.com], http: [{rules}]}}}}"
        )
    };
    mesh.apply(&object(&rules.join(", ")))?;
    for number in [0, 4_999, 9_999] {
        let url = format!("http://counted/path/{number}");
        let said = mesh.call(&url, &["-H", "host: many.example.com"])?;
        ensure!(usize::from(said.status) == 200 + number % 100, "{url}: {said:?}");
    }
    mesh.delete("virtualservice", "many", "default")?;
    let body = "x".repeat(1 << 20);
    mesh.apply(&object(&format!("{{directResponse: {{status: 200, body: {{string: {body}}}}}}}")))?;
    let said = mesh.call("http://counted/", &["-H", "host: many.example.com"])?;
    ensure!(said.status == 200 && said.body.len() == 1 << 20, "{} {}", said.status, said.body.len());
    mesh.delete("virtualservice", "many", "default")?;
    // Below the bound of a document, and beyond that of an object as it is stored, with what was applied last.
    let quotes = format!("'{}'", "\"".repeat(3_000_000));
    let text =
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: vast}}, data: {{a: {quotes}}}}}");
    let refused = mesh.apply(&text).err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(
        refused.contains("vast") && refused.contains("16777216 is the most"),
        "{}",
        &refused[..refused.len().min(300)]
    );
    mesh.sandbox.synced()?;
    ensure!(mesh.call("http://counted/", &[])?.status == 200);
    Ok(())
}
