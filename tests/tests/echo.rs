//! The mesh tests' echo server of Gateway API, as its manifests start it: every port that they name, in clear and through the mesh.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use heddle_tests::sandbox::{Sandbox, eventually};
use serde_json::Value;

/// One node per version; image, flags and ports as the conformance manifests have them.
fn manifest() -> String {
    let one = |version: &str, node: &str| {
        format!(
            "
---
{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: echo-{version}, namespace: gw}}, spec: {{
  selector: {{matchLabels: {{app: echo, version: {version}}}}},
  template: {{metadata: {{labels: {{app: echo, version: {version}}}}}, spec: {{nodeName: {node}, containers: [
    {{name: echo, image: 'registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0', imagePullPolicy: IfNotPresent,
     args: [--tcp=9090, --port=8080, --grpc=7070, --port=8443, --tls=8443, --crt=/cert.crt, --key=/cert.key],
     ports: [{{containerPort: 8080, protocol: TCP}}, {{containerPort: 7070, protocol: TCP}}]}}]}}}}}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: echo-{version}, namespace: gw}}, spec: {{selector: {{app: echo, version: {version}}},
  ports: [{{name: http, port: 80, appProtocol: http, targetPort: 8080}}, {{name: https, port: 443, targetPort: 8443}},
          {{name: tcp, port: 9090}}, {{name: grpc, port: 7070, appProtocol: kubernetes.io/h2c}}]}}}}"
        )
    };
    let namespace =
        "{apiVersion: v1, kind: Namespace, metadata: {name: gw, labels: {gateway-conformance: mesh}}}";
    format!("{namespace}{}{}\n", one("v1", "node-1"), one("v2", "node-2"))
}

fn every_port_answers(sandbox: &Sandbox) {
    let pod = sandbox.list("gw", "pods").unwrap();
    let pod = pod.iter().find(|pod| pod["metadata"]["labels"]["version"] == "v2").unwrap();
    let name = pod["metadata"]["name"].as_str().unwrap();
    let said = |argv: &[&str]| {
        let output = sandbox.exec("gw", "deploy/echo-v1", argv).unwrap();
        assert!(output.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let calls: [(&[&str], &str); 4] = [
        (&["http://echo-v2/path?x=1"], "8080"),
        (&["-k", "https://echo-v2/path?x=1"], "8443"),
        (&["--http2-prior-knowledge", "http://echo-v2:7070/path?x=1"], "7070"),
        (&["http://echo-v2:9090/path?x=1"], "9090"),
    ];
    for (arguments, port) in calls {
        let argv = [&["curl", "-sS", "-m", "10", "-H", "x-mine: yes"], arguments].concat();
        let answer: Value = serde_json::from_slice(&said(&argv)).unwrap();
        assert_eq!((&answer["pod"], &answer["path"]), (&name.into(), &"/path?x=1".into()), "{arguments:?}");
        assert_eq!((&answer["httpPort"], &answer["headers"]["X-Mine"][0]), (&port.into(), &"yes".into()));
        assert_eq!(answer["tls"].is_object(), port == "8443");
    }
    let tcp = said(&["sh", "-c", "echo hello | busybox nc echo-v2 9090"]);
    let tcp = String::from_utf8(tcp).unwrap();
    assert_eq!(tcp.lines().last(), Some("hello"), "{tcp}");
    assert!(tcp.contains(name), "{tcp}");
}

#[test]
fn the_mesh_conformance_echo_server_answers_on_every_port_in_clear_and_through_the_mesh() {
    let file = std::env::temp_dir().join(format!("heddle-echo-{}.yaml", std::process::id()));
    std::fs::write(&file, manifest()).unwrap();
    let sandbox = Sandbox::up("t-echo", &["--nodes", "2", "-f", &file.to_string_lossy()]);
    std::fs::remove_file(&file).unwrap();
    let sandbox = sandbox.unwrap();
    // The manifests have no probes: the pods are ready before their servers listen, the last of whose ports is this one.
    eventually(Duration::from_secs(5), || {
        let said = sandbox.exec("gw", "deploy/echo-v1", &["curl", "-sk", "-m", "2", "https://echo-v2/"])?;
        Ok(said.status.success())
    })
    .unwrap();
    every_port_answers(&sandbox);
    sandbox.run(&["sandbox", "label", "namespace", "gw", "istio.io/dataplane-mode=ambient"]).unwrap();
    sandbox.synced().unwrap();
    every_port_answers(&sandbox);
    let opened = sandbox.metrics("node-2").unwrap();
    let tunnelled = opened.lines().any(|line| {
        line.starts_with("istio_tcp_connections_opened_total")
            && line.contains("connection_security_policy=\"mutual_tls\"")
            && line.contains("destination_workload=\"echo-v2\"")
    });
    assert!(tunnelled, "{opened}");
}
