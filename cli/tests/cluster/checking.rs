//! `heddle check`: before an installation, of a mesh that runs or does not, and of this machine.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use heddle_apiserver::Setup;
use serde_json::{Value, json};

use crate::front::Script;
use crate::{Desk, err, node, out, own, runs};

async fn desk(script: Script) -> Desk {
    Desk::new(Setup { mesh: false, rbac: true, ..Setup::default() }, script).await
}

/// What was found, as `STATUS WHERE CHECK: MESSAGE: FIX`.
fn found(output: &Output) -> Vec<String> {
    let list: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", err(output)));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |each: &Value| {
        let [status, place, check, message, fix] =
            ["status", "where", "check", "message", "fix"].map(|key| text(&each[key]));
        format!("{status} {place} {check}: {message}: {fix}")
    };
    list.as_array().unwrap().iter().map(line).collect()
}

fn holds(lines: &[String], parts: &[&str]) {
    let matches = |line: &&String| parts.iter().all(|part| line.contains(part));
    assert!(lines.iter().any(|line| matches(&line)), "{parts:?}: {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_an_installation_what_it_needs_is_looked_at() {
    let desk = desk(Script::new()).await;
    desk.double().put(node("node-1"));
    let output = desk.heddle("check --pre").await;
    assert!(output.status.success(), "{}{}", out(&output), err(&output));
    assert!(out(&output).starts_with("STATUS   WHERE     CHECK"), "{}", out(&output));
    let lines = found(&desk.heddle("check --pre -o json").await);
    holds(&lines, &["ok cluster rights: you may do all"]);
    holds(
        &lines,
        &["ok cluster definitions: 0 of Heddle, 0 of others that will be used, 17 not installed yet"],
    );
    holds(&lines, &["ok cluster other-meshes: none"]);
    holds(&lines, &["ok node-1 kernel: Linux 6.12.9"]);
    assert!(!lines.iter().any(|line| line.contains("controller")), "{lines:#?}");

    let mut old = node("node-2");
    old["status"]["nodeInfo"] = json!({"kernelVersion": "5.10.0-28-amd64", "architecture": "arm64"});
    old["status"]["conditions"][0]["status"] = "False".into();
    desk.double().put(old);
    for (kind, name) in [("Deployment", "istiod-1-27"), ("DaemonSet", "ztunnel"), ("DaemonSet", "cilium")] {
        desk.double().put(json!({"apiVersion": "apps/v1", "kind": kind,
            "metadata": {"name": name, "namespace": "kube-system"}, "spec": {}}));
    }
    desk.double().put(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "cilium-config", "namespace": "kube-system"},
        "data": {"cni-exclusive": "true", "bpf-lb-sock": "true", "bpf-lb-sock-hostns-only": "true"}}));
    let output = desk.heddle("check --pre -o json").await;
    assert_eq!(output.status.code(), Some(1));
    let lines = found(&output);
    holds(&lines, &["fail node-2 kernel: Linux 5.10.0-28-amd64 is too old: use Linux 6.1"]);
    holds(&lines, &["fail node-2 node: architecture arm64"]);
    holds(&lines, &["warn node-2 node: not ready"]);
    holds(
        &lines,
        &["warn cluster other-meshes: Istio's control plane runs in kube-system", "heddle.dev/mesh=enabled"],
    );
    holds(&lines, &["Istio's ambient mode"]);
    holds(&lines, &["Cilium renames the network configurations", "cni.exclusive=false"]);
    assert!(!lines.iter().any(|line| line.contains("translates service addresses")), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_install_sees_which_rights_lack_and_an_absent_server_is_a_failure() {
    let desk = desk(Script::new()).await;
    desk.double().user("anns", "ann", &[]);
    desk.log_in("anns");
    let output = desk.heddle("check -o json").await;
    assert_eq!(output.status.code(), Some(1));
    let lines = found(&output);
    holds(
        &lines,
        &[
            "fail cluster rights: you may not get customresourcedefinitions.apiextensions.k8s.io",
            "create pods/exec in heddle-system",
        ],
    );
    desk.log_in("nobody");
    let lines = found(&desk.heddle("check -o json").await);
    holds(&lines, &["fail cluster api: ", "credentials"]);
    assert_eq!(lines.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_mesh_that_runs_each_node_says_what_its_agent_finds() {
    let mut script = Script::new();
    let good = json!([{"check": "kernel", "status": "ok", "message": "Linux 6.12.9, with every eBPF feature"},
        {"check": "cni", "status": "ok", "message": "/etc/cni/net.d/10-net.conflist calls heddle-cni"}]);
    let bad = json!([{"check": "cni", "status": "fail", "message": "does not call heddle-cni", "fix": "see the log"}]);
    script.insert("heddle-agent-a heddle-agent check".to_owned(), Ok(good.to_string()));
    script.insert("heddle-agent-b heddle-agent check".to_owned(), Ok(bad.to_string()));
    let desk = desk(script).await;
    let lines = found(&desk.heddle("check -o json").await);
    holds(&lines, &["warn cluster controller: Heddle is not installed: heddle install --apply"]);
    desk.double().put(node("node-1"));
    desk.double().put(own("heddle-controller", "heddle-controller-x", "node-1", &runs()));
    desk.double().put(own("heddle-agent", "heddle-agent-a", "node-1", &runs()));
    let output = desk.heddle("check -o json").await;
    let lines = found(&output);
    assert!(output.status.success(), "{lines:#?}");
    holds(&lines, &["ok cluster controller: pod heddle-controller-x is ready"]);
    holds(&lines, &["ok node-1 kernel: Linux 6.12.9, with every eBPF feature"]);
    holds(&lines, &["ok node-1 cni: /etc/cni/net.d/10-net.conflist calls heddle-cni"]);
    assert_eq!(lines.iter().filter(|line| line.contains("node-1 kernel")).count(), 1, "{lines:#?}");
    desk.double().put(node("node-2"));
    desk.double().put(own("heddle-agent", "heddle-agent-b", "node-2", &runs()));
    desk.double().put(node("node-3"));
    let output = desk.heddle("check -o json").await;
    let lines = found(&output);
    assert_eq!(output.status.code(), Some(1));
    holds(&lines, &["fail node-2 cni: does not call heddle-cni: see the log"]);
    holds(&lines, &["fail node-3 agent: no agent runs here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_looked_at_by_the_agents_binary() {
    let desk = desk(Script::new()).await;
    let folder = tempfile::tempdir().unwrap();
    let agent = folder.path().join("heddle-agent");
    let answer = json!([{"check": "btf", "status": "fail", "message": "the kernel has no type information", "fix": "another"}]);
    std::fs::write(&agent, format!("#!/bin/sh\n[ \"$*\" = 'check --pre' ] && echo '{answer}'\n")).unwrap();
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
    let heddle = async |words: &str, bin: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_heddle"));
        command
            .args(words.split(' '))
            .env_remove("KUBECONFIG")
            .env("HOME", "/nowhere")
            .env("HEDDLE_BIN_DIR", bin);
        command.output().await.unwrap()
    };
    let bin = folder.path().display().to_string();
    for words in ["check -o json", "check --local -o json"] {
        let output = heddle(words, &bin).await;
        assert_eq!(output.status.code(), Some(1));
        holds(&found(&output), &["fail this machine btf: the kernel has no type information: another"]);
    }
    let output = heddle("check --local -o json", "/nowhere").await;
    holds(&found(&output), &["fail this machine agent: /nowhere/heddle-agent cannot look", "HEDDLE_BIN_DIR"]);
    assert_eq!(desk.heddle("check --local --pre").await.status.code(), Some(2));
}
