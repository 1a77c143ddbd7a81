//! Pods as controllers see them: made from a template, and read from their status.
use std::hash::{BuildHasher, Hasher, RandomState};

use heddle_api::object::Object;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ownership;
use crate::store::suffix;

/// A template to make pods of, with the labels and fields that its controller adds.
pub(super) fn from_template(owner: &Object, name: &str, template: &Value, labels: &[(&str, &str)]) -> Object {
    let mut metadata = template["metadata"].clone();
    if !metadata.is_object() {
        metadata = json!({});
    }
    metadata["name"] = json!(name);
    metadata["namespace"] = json!(owner.namespace);
    metadata["ownerReferences"] = ownership::reference(owner);
    for (key, value) in labels {
        if !metadata["labels"].is_object() {
            metadata["labels"] = json!({});
        }
        metadata["labels"][*key] = json!(value);
    }
    let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]});
    Object {
        kind: super::kind_named("Pod"),
        namespace: owner.namespace.clone(),
        name: name.to_owned(),
        value,
    }
}

/// `NAME-xxxxx`
pub(super) fn random_name(prefix: &str) -> String {
    format!("{prefix}-{}", suffix(RandomState::new().build_hasher().finish(), 5))
}

/// A name for the content of a template: the same content has the same name, also in the next sandbox.
pub(super) fn hash(content: &Value) -> String {
    let text = content.to_string();
    // FNV-1a
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    suffix(hash, 10)
}

pub(super) fn is_ready(pod: &Object) -> bool {
    ready_condition(pod).is_some_and(|condition| condition["status"] == "True")
}

/// Ready, and for `minReadySeconds` at least.
pub(super) fn is_available(pod: &Object, min_ready_seconds: i64) -> bool {
    let Some(condition) = ready_condition(pod).filter(|condition| condition["status"] == "True") else {
        return false;
    };
    min_ready_seconds == 0 || age_of(&condition["lastTransitionTime"]) >= min_ready_seconds
}

fn ready_condition(pod: &Object) -> Option<&Value> {
    let conditions = pod.value["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Ready")
}

/// Seconds since a timestamp; none counts as now.
pub(super) fn age_of(timestamp: &Value) -> i64 {
    let parsed = timestamp.as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    parsed.map_or(0, |at| (OffsetDateTime::now_utc() - at).whole_seconds())
}

pub(super) fn is_terminating(object: &Object) -> bool {
    !object.value["metadata"]["deletionTimestamp"].is_null()
}

pub(super) fn phase(pod: &Object) -> &str {
    pod.value["status"]["phase"].as_str().unwrap_or_default()
}

pub(super) fn is_finished(pod: &Object) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether it counts as one of its controller's replicas.
pub(super) fn is_active(pod: &Object) -> bool {
    !is_terminating(pod) && !is_finished(pod)
}

pub(super) fn is_scheduled(pod: &Object) -> bool {
    pod.value["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty())
}

pub(super) fn label<'a>(object: &'a Object, key: &str) -> &'a str {
    object.value["metadata"]["labels"][key].as_str().unwrap_or_default()
}
