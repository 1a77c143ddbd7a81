//! What exists before the first apply.
use heddle_api::kind;
use heddle_api::object::Object;
use serde_json::{Value, json};

use super::{Store, StoreError};

pub(super) fn fill(store: &Store) -> Result<(), StoreError> {
    for name in ["default", "kube-system", "heddle-system", "istio-system"] {
        store.create(object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})))?;
    }
    store.create(object(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00:10:96::a"],
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"}
            ]
        }
    })))?;
    Ok(())
}

/// The object that is rewritten after each removal.
pub(super) fn change_mark(version: u64) -> Object {
    object(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "sandbox-changes", "namespace": "kube-system", "uid": "sandbox-changes"},
        "data": {"removedAt": version.to_string()}
    }))
}

/// Every namespace has the account that pods use when they name none.
pub(super) fn service_account(store: &Store, namespace: &str) -> Result<(), StoreError> {
    let metadata = json!({"name": "default", "namespace": namespace});
    let account = object(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}));
    match store.create(account) {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// An object made by the sandbox itself.
pub(crate) fn object(value: Value) -> Object {
    let kind =
        kind::find(text(&value["apiVersion"]), text(&value["kind"])).expect("the sandbox makes known kinds");
    let name = text(&value["metadata"]["name"]).to_owned();
    let namespace = value["metadata"]["namespace"].as_str().map(str::to_owned);
    Object { kind, namespace, name, value }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
