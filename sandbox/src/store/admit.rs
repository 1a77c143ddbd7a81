//! What an API server checks beyond an object's shape: namespaces, service accounts, selectors.
use std::sync::Arc;

use heddle_api::object::Object;
use serde_json::Value;

use super::{StoreError, selector};

const NAMESPACES_THAT_STAY: [&str; 4] = ["default", "kube-system", "heddle-system", "istio-system"];

/// `find` looks up core objects by plural, namespace and name.
pub(super) fn creation(
    object: &Object,
    find: impl Fn(&'static str, Option<String>, String) -> Option<Arc<Object>>,
) -> Result<(), StoreError> {
    let Some(namespace) = object.namespace.clone().filter(|_| object.kind.namespaced) else { return Ok(()) };
    let Some(home) = find("namespaces", None, namespace.clone()) else {
        return Err(StoreError::NotFound { resource: "namespaces".to_owned(), name: namespace });
    };
    if !home.value["metadata"]["deletionTimestamp"].is_null() {
        let message =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(StoreError::forbidden(object, message));
    }
    if object.kind.kind != "Pod" {
        return Ok(());
    }
    let account = object.value["spec"]["serviceAccountName"].as_str().unwrap_or("default");
    if find("serviceaccounts", Some(namespace.clone()), account.to_owned()).is_none() {
        let message = format!(
            "error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
        );
        return Err(StoreError::forbidden(object, message));
    }
    Ok(())
}

/// The base namespaces cannot be deleted.
pub(super) fn deletion(object: &Object) -> Result<(), StoreError> {
    if object.kind.kind == "Namespace" && NAMESPACES_THAT_STAY.contains(&object.name.as_str()) {
        return Err(StoreError::forbidden(object, "this namespace may not be deleted"));
    }
    Ok(())
}

/// A workload that would not select its own pods is refused, before it makes pods without end.
pub(super) fn consistency(object: &Object) -> Result<(), StoreError> {
    if !matches!(object.kind.kind, "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet") {
        return Ok(());
    }
    let spec = &object.value["spec"];
    if spec["selector"].as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(StoreError::invalid(object, "spec.selector", "Required value"));
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if !selector::matches(&spec["selector"], labels) {
        let shown = if labels.is_null() { Value::Object(serde_json::Map::new()) } else { labels.clone() };
        let message = format!("Invalid value: {shown}: `selector` does not match template `labels`");
        return Err(StoreError::invalid(object, "spec.template.metadata.labels", message));
    }
    Ok(())
}
