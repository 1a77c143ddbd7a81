//! Bounds on connections that nobody looks into.

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use serde_json::Value;

use super::rule;

/// Host and policy.
const HOSTS: &[(&str, &str)] = &[
    ("tcp-free", "connectTimeout: 3s"),
    ("tcp-one", "maxConnections: 1"),
    ("tcp-idle", "idleTimeout: 1s"),
    ("tcp-old", "maxConnectionDuration: 2s"),
];

pub(super) fn objects() -> String {
    let each = HOSTS.iter().map(|(host, policy)| {
        let service = format!(
            "\n---\n{{apiVersion: v1, kind: Service, metadata: {{name: {host}, namespace: outside}}, spec: {{selector: {{app: \
             plain}}, ports: [{{name: tcp, port: 7001}}]}}}}"
        );
        service + &rule(&format!("{host}.outside.svc.cluster.local"), &format!("connectionPool: {{tcp: {{{policy}}}}}"))
    });
    each.collect()
}

/// Says so many bytes, one each 300 ms, and waits three seconds for the end.
fn speak(mesh: &Mesh, host: &str, words: usize) -> Result<Value> {
    let to = format!("{host}.outside:7001");
    let argv = [&["wire", &to, "--patience", "3000", "--pause", "300"][..], &vec!["x"; words]].concat();
    mesh.probe(&argv)
}

pub(super) fn bounded(mesh: &Mesh) -> Result<()> {
    let ends = |host: &str, words: usize, ended: bool| -> Result<()> {
        let said = speak(mesh, host, words)?;
        ensure!((said["end"] != "open") == ended, "{host}: {said}");
        Ok(())
    };
    ends("tcp-free", 20, false)?;
    ends("tcp-idle", 1, true)?;
    // 300 ms of silence are less than one second.
    ends("tcp-old", 4, true)?;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| speak(mesh, "tcp-one", 20));
        std::thread::sleep(std::time::Duration::from_secs(2));
        ends("tcp-one", 1, true)?;
        let first = first.join().map_err(|_panic| anyhow::anyhow!("the first"))??;
        ensure!(first["end"] == "open", "the first goes on: {first}");
        Ok(())
    })
}
