//! The server-owned half of `metadata`: identity, versions and times.
use std::fs;

use heddle_api::object::Object;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::StoreError;

/// Kubernetes leaves out vowels and look-alikes, so that no word appears in a generated name.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The present in the form of `creationTimestamp`.
pub fn now() -> String {
    timestamp(OffsetDateTime::now_utc())
}

/// RFC 3339 in whole seconds.
pub fn timestamp(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// Seconds since 1970 of an RFC 3339 timestamp.
pub fn seconds(timestamp: &Value) -> Option<u64> {
    let at = OffsetDateTime::parse(timestamp.as_str()?, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp()).ok()
}

/// Letters of `seed` in the alphabet of generated names.
pub fn suffix(mut seed: u64, length: usize) -> String {
    let mut letters = String::with_capacity(length);
    for _ in 0..length {
        letters.push(char::from(ALPHABET[(seed % 27) as usize]));
        seed /= 27;
    }
    letters
}

pub(super) fn uid(object: &Object) -> &str {
    object.value["metadata"]["uid"].as_str().unwrap_or_default()
}

pub(super) fn check_version(old: &Object, new: &Object) -> Result<(), StoreError> {
    let sent = &new.value["metadata"]["resourceVersion"];
    if sent.is_null() || *sent == old.value["metadata"]["resourceVersion"] {
        return Ok(());
    }
    Err(StoreError::conflict(old))
}

pub(super) fn stamp_new(object: &mut Object) -> Result<(), StoreError> {
    let source = "/proc/sys/kernel/random/uuid";
    let uuid = fs::read_to_string(source)
        .map_err(|error| StoreError::Disk { path: source.to_owned(), source: error })?;
    let namespace = object.namespace.clone();
    let metadata = &mut object.value["metadata"];
    metadata["uid"] = json!(uuid.trim());
    metadata["creationTimestamp"] = json!(now());
    metadata["generation"] = json!(1);
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    Ok(())
}

/// Keeps what the server owns; a changed spec is a new generation.
pub(super) fn stamp_update(old: &Object, next: &mut Object) {
    for field in ["uid", "creationTimestamp", "generation", "resourceVersion", "namespace"] {
        let kept = old.value["metadata"][field].clone();
        if !kept.is_null() {
            next.value["metadata"][field] = kept;
        }
    }
    if desired(&old.value) != desired(&next.value) {
        let generation = old.value["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
        next.value["metadata"]["generation"] = json!(generation);
    }
}

fn desired(value: &Value) -> Vec<(&String, &Value)> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status" | "apiVersion")).collect()
}

/// The object marked as being deleted, or None when nothing needs to end first.
pub(super) fn terminating(old: &Object, grace: Option<i64>) -> Option<Object> {
    let mut next = old.clone();
    match old.kind.kind {
        "Namespace" => {
            next.value["status"]["phase"] = json!("Terminating");
            mark(&mut next.value, None);
        }
        "Pod" => {
            let node = old.value["spec"]["nodeName"].as_str().unwrap_or_default();
            let own = old.value["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
            if node.is_empty() {
                return None;
            }
            mark(&mut next.value, Some(grace.unwrap_or(own).max(0)));
        }
        _ => return None,
    }
    Some(next)
}

fn mark(value: &mut Value, grace: Option<i64>) {
    let metadata = &mut value["metadata"];
    let shorter = match (grace, metadata["deletionGracePeriodSeconds"].as_i64()) {
        (Some(new), Some(old)) => new < old,
        _ => false,
    };
    if !metadata["deletionTimestamp"].is_null() && !shorter {
        return;
    }
    let end = OffsetDateTime::now_utc() + time::Duration::seconds(grace.unwrap_or(0));
    metadata["deletionTimestamp"] = json!(timestamp(end));
    if let Some(grace) = grace {
        metadata["deletionGracePeriodSeconds"] = json!(grace);
    }
}
