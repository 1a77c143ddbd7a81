//! gRPC core, as Python has it, on both sides: another HTTP/2 than ours and tonic's.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;
use serde_json::{Value, json};

const PEER: &str = include_str!("peer.py");
/// Debian's, which has Debian's python3-grpcio.
const PYTHON: &str = "/usr/bin/python3";

/// Its server stands in `batch`.
pub(crate) const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: grpcio}, spec: {selector: {app: batch}, \
    ports: [{name: grpc, port: 7072}, {name: any, port: 7073, targetPort: 7072}]}}";

fn client(mesh: &Mesh, arguments: &[&str]) -> Result<Value> {
    let argv = [&[PYTHON, "-c", PEER, "client"], arguments].concat();
    let output = mesh.sandbox.exec("default", "client", &argv)?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).with_context(|| format!("{arguments:?}: {errors}"))
}

fn expect(said: &Value, who: &str) -> Result<()> {
    for (key, want) in [
        ("unary", json!("one")),
        ("collect", json!("a|b")),
        ("repeat", json!(["r", "r", "r", "r", "r"])),
        ("converse", json!(["m0", "m1", "m2", "m3"])),
        ("deadline", json!("DEADLINE_EXCEEDED")),
        ("cancelled", json!(["first", "CANCELLED", "after"])),
        ("status", json!(["FAILED_PRECONDITION", "as asked", "at-the-end"])),
    ] {
        ensure!(said[key] == want, "{who}: {key}: {} is not {want}: {said}", said[key]);
    }
    Ok(())
}

pub(crate) fn every_kind(mesh: &Mesh) -> Result<()> {
    // Against tonic, on a port that declares gRPC.
    expect(&client(mesh, &["web:7070"])?, "grpcio to tonic")?;
    let argv = [PYTHON, "-c", PEER, "server", "7072"];
    let mut command = mesh.sandbox.exec_command("default", "batch", &argv)?;
    let mut server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let seen = with_server(mesh);
    server.kill()?;
    server.wait()?;
    seen
}

fn with_server(mesh: &Mesh) -> Result<()> {
    let argv = ["grpc-client", "http://grpcio:7072", "--kind", "unary", "--count", "1"];
    eventually(Duration::from_secs(20), || Ok(mesh.probe(&argv)?["code"] == 0))?;
    // On a port that declares gRPC, and on one that declares nothing. Deadlines and cancellation reach the server.
    for to in ["grpcio:7072", "grpcio:7073"] {
        let said = client(mesh, &[to, "--cancels"])?;
        expect(&said, "grpcio to grpcio")?;
        ensure!(said["trailer"] == "at-the-end" && said["told of the deadline"] == "yes", "{said}");
    }
    for (kind, replies) in [("unary", 3), ("collect", 1), ("repeat", 3), ("converse", 3)] {
        let said = mesh.probe(&["grpc-client", "http://grpcio:7072", "--kind", kind])?;
        ensure!(said["replies"].as_array().map(Vec::len) == Some(replies), "tonic to grpcio: {kind}: {said}");
    }
    Ok(())
}
