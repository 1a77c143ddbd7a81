//! Step 9: what an operator sees.

use std::process::Command;

use anyhow::{Context, Result};
use heddle_tests::report::Report;
use serde_json::Value;

use crate::stage::Stage;

pub(crate) const NAMES: &[&str] = &["agents-synced", "bpftool-lists-programs"];

pub(crate) fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let sandbox = stage.sandbox()?;
    let table = sandbox.run(&["status", "--wait", "--timeout", "30s"])?;
    table.lines().for_each(|line| println!("    {line}"));
    let synced = ["node-1", "node-2"].iter().all(|node| {
        table.lines().any(|line| {
            line.contains(node)
                && line.contains("SYNCED")
                && !line.contains("STALE")
                && !line.contains("NACK")
        })
    });
    report.check("agents-synced", synced, "heddle status shows node-1 and node-2 SYNCED");

    let page: Value =
        serde_json::from_str(&sandbox.run(&["bpf", "-o", "json"])?).context("heddle bpf -o json")?;
    let mut programs = Vec::new();
    collect(&page, &mut programs);
    let listed = Command::new("bpftool").args(["prog", "show"]).output().context("bpftool")?;
    let text = String::from_utf8_lossy(&listed.stdout);
    let missing: Vec<&u64> =
        programs.iter().filter(|id| !text.lines().any(|line| line.starts_with(&format!("{id}:")))).collect();
    let note =
        format!("{} programs of both nodes, {} of them unknown to bpftool", programs.len(), missing.len());
    report.check("bpftool-lists-programs", programs.len() >= 12 && missing.is_empty(), note);
    Ok(())
}

/// Ids of everything below a `programs` key.
fn collect(value: &Value, ids: &mut Vec<u64>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| match (key.as_str(), value) {
            ("programs", Value::Array(programs)) => {
                ids.extend(programs.iter().filter_map(|each| each["id"].as_u64()))
            }
            _ => collect(value, ids),
        }),
        Value::Array(items) => items.iter().for_each(|item| collect(item, ids)),
        _ => {}
    }
}
