//! `apply`'s three-way merge: the last applied form, the stored one and the new one.
use serde_json::{Value, json};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Notes the applied form in the annotation that kubectl uses, so that the next apply can tell removals.
pub(super) fn remember(object: &mut Value) {
    let mut bare = object.clone();
    if let Some(map) = bare.as_object_mut() {
        map.remove("status");
    }
    if let Some(annotations) = bare.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
    }
    let text = bare.to_string() + "\n";
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][LAST_APPLIED] = json!(text);
}

/// `new` over `stored`; what the last apply set and `new` does not goes.
pub(super) fn three_way(stored: &Value, new: &Value) -> Value {
    let last = stored["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap_or("{}");
    let last: Value = serde_json::from_str(last).unwrap_or(Value::Null);
    let mut merged = stored.clone();
    merge(&mut merged, &last, new);
    merged
}

fn merge(stored: &mut Value, last: &Value, new: &Value) {
    let (Some(fields), Some(wanted)) = (stored.as_object_mut(), new.as_object()) else {
        *stored = new.clone();
        return;
    };
    for name in last.as_object().into_iter().flat_map(|last| last.keys()) {
        if !wanted.contains_key(name) {
            fields.shift_remove(name);
        }
    }
    for (name, value) in wanted {
        // Lists are replaced: defaults are filled in again, and they are deterministic.
        merge(fields.entry(name.clone()).or_insert(Value::Null), &last[name.as_str()], value);
    }
}
