//! GRPCRoute: methods, metadata, weights and filters.

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use serde_json::Value;

/// A call of one message, with metadata by commas.
fn call(mesh: &Mesh, host: &str, kind: &str, metadata: &str) -> Result<Value> {
    let url = format!("http://{host}:7070");
    let mut argv = vec!["grpc-client", &url, "--kind", kind, "--count", "1"];
    for each in metadata.split(',').filter(|each| !each.is_empty()) {
        argv.extend(["--header", each]);
    }
    mesh.probe(&argv)
}

/// Host, method, metadata, who answers; nobody: `UNIMPLEMENTED`.
fn rows(mesh: &Mesh, host: &str, rows: &[(&str, &str, &str)]) -> Result<()> {
    for (kind, metadata, version) in rows {
        let said = call(mesh, host, kind, metadata)?;
        let right = match *version {
            "12" => said["code"] == 12,
            version => said["replies"][0]["version"] == version,
        };
        ensure!(right, "{kind} of {host} with {metadata:?}: not {version}: {said}");
    }
    Ok(())
}

pub(crate) fn methods(mesh: &Mesh) -> Result<()> {
    rows(
        mesh,
        "rpc",
        &[("unary", "", "v1"), ("repeat", "", "v2"), ("collect", "", "v2"), ("converse", "", "12")],
    )?;
    rows(mesh, "rpc-pattern", &[("unary", "", "v1"), ("repeat", "", "v3"), ("converse", "", "12")])?;
    // Nowhere to go: the status of a 500.
    let lost = call(mesh, "rpc-lost", "unary", "")?;
    ensure!(lost["code"] == 2, "{lost}");
    Ok(())
}

pub(crate) fn metadata(mesh: &Mesh) -> Result<()> {
    rows(
        mesh,
        "rpc-headed",
        &[
            ("unary", "version=one", "v1"),
            ("unary", "version=two", "v2"),
            ("unary", "version=two,color=orange", "v3"),
            ("unary", "version=two,color=blue", "v2"),
            ("unary", "color=blue", "v1"),
            ("unary", "color=green", "v1"),
            ("unary", "color=orange", "12"),
            ("unary", "other=one", "12"),
        ],
    )
}

pub(crate) fn filters_and_weights(mesh: &Mesh) -> Result<()> {
    let said = call(mesh, "rpc", "unary", "x-set=0,x-add=0,x-gone=0")?;
    let metadata = &said["replies"][0]["metadata"];
    ensure!(metadata["x-set"] == "set" && metadata["x-gone"].is_null(), "{said}");
    ensure!(metadata["x-add"] == "added" || metadata["x-add"] == "0,added", "{said}");
    let many = mesh.probe(&["grpc-client", "http://rpc-split:7070", "--count", "1000"])?;
    let replies = many["replies"].as_array().cloned().unwrap_or_default();
    ensure!(replies.len() == 1000, "{many}");
    let mut two = 0_u64;
    for reply in &replies {
        ensure!(reply["metadata"]["x-backend"] == reply["version"], "a filter of another backend: {reply}");
        two += u64::from(reply["version"] == "v2");
    }
    // Six standard deviations.
    ensure!(two.abs_diff(300) < 87, "{two} of 1000 went to the backend of weight 30 of 100");
    Ok(())
}
