//! `heddle` against a cluster: verbs that read a mesh, what they say when something is wrong, installing and uninstalling.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod checking;
mod front;
mod installing;
mod reading;
mod troubles;
mod uninstalling;

use std::process::Output;

use front::{Front, Script};
use heddle_apiserver::{ADMIN, Double, Setup};
use serde_json::{Value, json};

/// A cluster, and a person with a kubeconfig for it.
pub(crate) struct Desk {
    pub(crate) front: Front,
    home: tempfile::TempDir,
}

impl Desk {
    pub(crate) async fn new(setup: Setup, script: Script) -> Self {
        let double = Double::start(setup).await.unwrap();
        let front = Front::start(double, script).await;
        let desk = Self { front, home: tempfile::tempdir().unwrap() };
        desk.log_in(ADMIN);
        desk
    }

    /// The kubeconfig is of whoever has this token from now on.
    pub(crate) fn log_in(&self, token: &str) {
        self.write(&self.front.kubeconfig(token));
    }

    pub(crate) fn write(&self, kubeconfig: &str) {
        std::fs::write(self.kubeconfig(), kubeconfig).unwrap();
    }

    pub(crate) fn kubeconfig(&self) -> String {
        self.home.path().join("config").display().to_string()
    }

    pub(crate) fn double(&self) -> &Double {
        &self.front.double
    }

    /// Runs `heddle` with these words.
    pub(crate) async fn heddle(&self, words: &str) -> Output {
        self.with(words, Some(&self.kubeconfig())).await
    }

    /// The same with another `KUBECONFIG`, or without.
    pub(crate) async fn with(&self, words: &str, kubeconfig: Option<&str>) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_heddle"));
        command.args(words.split_whitespace()).env_remove("KUBECONFIG").env("HOME", self.home.path());
        if let Some(path) = kubeconfig {
            command.env("KUBECONFIG", path);
        }
        command.stdin(std::process::Stdio::null()).output().await.unwrap()
    }
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}},
        "status": {"nodeInfo": {"kernelVersion": "6.12.9"}, "conditions": [{"type": "Ready", "status": "True"}]}})
}

/// A pod of Heddle's own whose container is in this state.
pub(crate) fn own(app: &str, name: &str, node: &str, state: &Value) -> Value {
    let container = app.trim_start_matches("heddle-");
    let ready = if state["running"].is_object() { "True" } else { "False" };
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "heddle-system", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": container, "image": "x"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": container, "state": state}]}})
}

pub(crate) fn runs() -> Value {
    json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})
}
