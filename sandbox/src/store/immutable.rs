//! Fields that an API server does not let change.
use heddle_api::object::Object;
use serde_json::Value;

use super::StoreError;

/// A replaced object keeps what its author left out and the server had filled in.
pub(super) fn carry_over(old: &Value, next: &mut Value) {
    if next.get("status").is_none() && !old["status"].is_null() {
        next["status"] = old["status"].clone();
    }
    if old["kind"] == "Service" && next["spec"]["type"] != "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if next["spec"][field].is_null() && !old["spec"][field].is_null() {
                next["spec"][field] = old["spec"][field].clone();
            }
        }
    }
    if old["kind"] == "Pod" {
        for field in ["nodeName", "serviceAccountName"] {
            if next["spec"][field].is_null() && !old["spec"][field].is_null() {
                next["spec"][field] = old["spec"][field].clone();
            }
        }
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences"] {
        if next["metadata"][field].is_null() && !old["metadata"][field].is_null() {
            next["metadata"][field] = old["metadata"][field].clone();
        }
    }
}

pub(super) fn check(old: &Object, next: &Object) -> Result<(), StoreError> {
    match old.kind.kind {
        "Deployment" | "DaemonSet" | "ReplicaSet" => fixed(old, next, &["selector"]),
        "Service"
            if old.value["spec"]["type"] != "ExternalName"
                && next.value["spec"]["type"] != "ExternalName" =>
        {
            fixed(old, next, &["clusterIP"])
        }
        "StatefulSet" => stateful_set(old, next),
        "Job" => fixed(old, next, &["selector", "template", "completions", "completionMode"]),
        "Pod" => pod(old, next),
        "ConfigMap" | "Secret" => frozen(old, next),
        _ => Ok(()),
    }
}

fn fixed(old: &Object, next: &Object, fields: &[&str]) -> Result<(), StoreError> {
    for field in fields {
        let (before, after) = (&old.value["spec"][*field], &next.value["spec"][*field]);
        if before != after {
            let message = format!("Invalid value: {after}: field is immutable");
            return Err(StoreError::invalid(next, &format!("spec.{field}"), message));
        }
    }
    Ok(())
}

fn stateful_set(old: &Object, next: &Object) -> Result<(), StoreError> {
    let may_change =
        ["replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds"];
    if without(&old.value["spec"], &may_change) == without(&next.value["spec"], &may_change) {
        return Ok(());
    }
    let message = "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', \
                   'template', 'updateStrategy', 'revisionHistoryLimit' and 'minReadySeconds' are forbidden";
    Err(StoreError::invalid(next, "spec", message))
}

fn pod(old: &Object, next: &Object) -> Result<(), StoreError> {
    let (mut before, mut after) = (old.value["spec"].clone(), next.value["spec"].clone());
    for spec in [&mut before, &mut after] {
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
    }
    // Binding to a node is the one change that the scheduler makes.
    let bound = before["nodeName"].is_null();
    let ignored: &[&str] =
        if bound { &["nodeName", "activeDeadlineSeconds"] } else { &["activeDeadlineSeconds"] };
    if without(&before, ignored) == without(&after, ignored) {
        return Ok(());
    }
    let message = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`, \
                   `spec.initContainers[*].image` and `spec.activeDeadlineSeconds`";
    Err(StoreError::invalid(next, "spec", message))
}

fn frozen(old: &Object, next: &Object) -> Result<(), StoreError> {
    if old.value["immutable"] == true {
        for field in ["data", "binaryData", "immutable"] {
            if old.value[field] != next.value[field] {
                let message = "Forbidden: field is immutable when `immutable` is set";
                return Err(StoreError::invalid(next, field, message));
            }
        }
    }
    if old.value["type"] != next.value["type"] {
        let message = format!("Invalid value: {}: field is immutable", next.value["type"]);
        return Err(StoreError::invalid(next, "type", message));
    }
    Ok(())
}

fn without(spec: &Value, fields: &[&str]) -> Value {
    let mut rest = spec.clone();
    if let Some(map) = rest.as_object_mut() {
        map.retain(|name, value| !fields.contains(&name.as_str()) && !value.is_null());
    }
    rest
}
