//! ReplicaSets: as many pods as asked for.
use std::sync::Arc;

use heddle_api::object::Object;
use serde_json::{Value, json};

use super::deployment::{as_number, condition};
use super::{kind_named, note, ownership, pods};
use crate::store::{Store, StoreError};

/// A pod that failed for good is replaced, but not in a busy loop.
const REPLACE_FAILED_AFTER: i64 = 10;

pub(super) fn reconcile(store: &Store) {
    for set in store.list(kind_named("ReplicaSet")) {
        if !pods::is_terminating(&set) {
            one(store, &set);
        }
    }
}

fn one(store: &Store, set: &Object) {
    let wanted = usize::try_from(set.value["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0);
    let mut owned = ownership::children(store, kind_named("Pod"), set);
    for pod in owned.iter().filter(|pod| pods::is_finished(pod) && !pods::is_terminating(pod)) {
        if pods::age_of(&pod.value["metadata"]["creationTimestamp"]) >= REPLACE_FAILED_AFTER {
            remove(store, pod);
        }
    }
    owned.retain(|pod| !pods::is_terminating(pod));
    let mut failure = None;
    for _ in owned.len()..wanted {
        let pod =
            pods::from_template(set, &pods::random_name(&set.name), &set.value["spec"]["template"], &[]);
        if let Err(error) = store.create(pod) {
            failure = Some(error);
            break;
        }
    }
    if owned.len() > wanted {
        owned.sort_by_key(usefulness);
        for pod in &owned[..owned.len() - wanted] {
            note("scale down", &pod.name, store.delete(pod.kind, pod.namespace.as_deref(), &pod.name));
        }
    }
    status(store, set, failure.as_ref());
}

/// Pods go in this order: unscheduled before scheduled, unready before ready, young before old.
fn usefulness(pod: &Arc<Object>) -> (bool, bool, bool, i64) {
    let age = pods::age_of(&pod.value["metadata"]["creationTimestamp"]);
    (!pods::is_finished(pod), pods::is_scheduled(pod), pods::is_ready(pod), age)
}

/// A finished pod has nothing left to end.
pub(super) fn remove(store: &Store, pod: &Object) {
    note("remove", &pod.name, store.delete_within(pod.kind, pod.namespace.as_deref(), &pod.name, Some(0)));
}

fn status(store: &Store, set: &Object, failure: Option<&StoreError>) {
    let min_ready = set.value["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    let mut owned = ownership::children(store, kind_named("Pod"), set);
    owned.retain(|pod| pods::is_active(pod));
    let ready = owned.iter().filter(|pod| pods::is_ready(pod)).count();
    let available = owned.iter().filter(|pod| pods::is_available(pod, min_ready)).count();
    let change = |status: &mut Value| {
        status["observedGeneration"] = set.value["metadata"]["generation"].clone();
        status["replicas"] = json!(owned.len());
        status["fullyLabeledReplicas"] = json!(owned.len());
        status["readyReplicas"] = json!(as_number(ready));
        status["availableReplicas"] = json!(as_number(available));
        if let Some(error) = failure {
            condition(status, "ReplicaFailure", true, ("FailedCreate", &error.to_string()));
        } else if let Some(list) = status.get_mut("conditions").and_then(Value::as_array_mut) {
            list.retain(|condition| condition["type"] != "ReplicaFailure");
        }
    };
    note("status", &set.name, store.patch_status(set.kind, set.namespace.as_deref(), &set.name, change));
}
