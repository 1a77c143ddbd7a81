//! Deployments: one ReplicaSet a template, and the rolling update between them.
use std::sync::Arc;

use heddle_api::object::Object;
use serde_json::{Value, json};

use super::rollout::{self, Replicas, Strategy};
use super::{kind_named, note, ownership, pods};
use crate::store::{Store, now};

const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";

pub(super) fn reconcile(store: &Store) {
    for deployment in store.list(kind_named("Deployment")) {
        if !pods::is_terminating(&deployment) {
            one(store, &deployment);
        }
    }
}

fn one(store: &Store, deployment: &Object) {
    let hash = pods::hash(&deployment.value["spec"]["template"]);
    let mut sets = ownership::children(store, kind_named("ReplicaSet"), deployment);
    sets.sort_by_key(|set| revision(set));
    let Some(index) = sets.iter().position(|set| pods::label(set, HASH) == hash) else {
        if deployment.value["spec"]["paused"] != true {
            let next = sets.last().map_or(0, |set| revision(set)) + 1;
            note("replica set", &deployment.name, store.create(new_set(deployment, &hash, next)));
        }
        status(store, deployment, None, &sets);
        return;
    };
    let current = sets.remove(index);
    promote(store, deployment, &current, &sets);
    scale(store, deployment, &current, &sets);
    prune(store, deployment, &sets);
    status(store, deployment, Some(&current), &sets);
}

/// A ReplicaSet that comes back (a rollback) is the newest revision again.
fn promote(store: &Store, deployment: &Object, current: &Object, old: &[Arc<Object>]) {
    let highest = old.last().map_or(0, |set| revision(set));
    let wanted = if revision(current) < highest { highest + 1 } else { revision(current) };
    for object in [current, deployment] {
        if revision(object) != wanted {
            let change = |value: &mut Value| annotate(value, wanted);
            note(
                "revision",
                &object.name,
                store.edit(object.kind, object.namespace.as_deref(), &object.name, change),
            );
        }
    }
}

fn scale(store: &Store, deployment: &Object, current: &Object, old: &[Arc<Object>]) {
    let spec = &deployment.value["spec"];
    if spec["paused"] == true && !old.is_empty() {
        return;
    }
    let desired = spec["replicas"].as_i64().unwrap_or(1);
    let counted: Vec<Replicas> = old.iter().map(|set| count(store, set)).collect();
    let next =
        rollout::decide(Strategy::of(&spec["strategy"], desired), desired, count(store, current), &counted);
    resize(store, current, next.new);
    for (set, wanted) in old.iter().zip(next.old) {
        resize(store, set, wanted);
    }
}

fn count(store: &Store, set: &Object) -> Replicas {
    let min_ready = set.value["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    let pods = ownership::children(store, kind_named("Pod"), set);
    // Recreate waits until the old pods are gone, not only told to go.
    let existing = pods.iter().filter(|pod| !pods::is_finished(pod)).count();
    let available =
        pods.iter().filter(|pod| pods::is_active(pod) && pods::is_available(pod, min_ready)).count();
    let wanted = set.value["spec"]["replicas"].as_i64().unwrap_or(0);
    Replicas { wanted, existing: as_number(existing), available: as_number(available) }
}

fn resize(store: &Store, set: &Object, wanted: i64) {
    if set.value["spec"]["replicas"].as_i64() != Some(wanted) {
        let change = |value: &mut Value| value["spec"]["replicas"] = json!(wanted);
        note("scale", &set.name, store.edit(set.kind, set.namespace.as_deref(), &set.name, change));
    }
}

/// Keeps `revisionHistoryLimit` empty ReplicaSets.
fn prune(store: &Store, deployment: &Object, old: &[Arc<Object>]) {
    let limit = deployment.value["spec"]["revisionHistoryLimit"].as_u64().unwrap_or(10);
    let excess = old.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    for set in old.iter().take(excess) {
        if set.value["spec"]["replicas"] == 0 && set.value["status"]["replicas"].as_i64().unwrap_or(0) == 0 {
            note("prune", &set.name, store.delete(set.kind, set.namespace.as_deref(), &set.name));
        }
    }
}

fn new_set(deployment: &Object, hash: &str, revision: u64) -> Object {
    let name = format!("{}-{hash}", deployment.name);
    let spec = &deployment.value["spec"];
    let (mut template, mut selector) = (spec["template"].clone(), spec["selector"].clone());
    template["metadata"]["labels"][HASH] = json!(hash);
    if !selector["matchLabels"].is_object() {
        selector["matchLabels"] = json!({});
    }
    selector["matchLabels"][HASH] = json!(hash);
    let labels = template["metadata"]["labels"].clone();
    let mut value = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name, "namespace": deployment.namespace, "labels": labels,
            "ownerReferences": ownership::reference(deployment)
        },
        "spec": {"replicas": 0, "selector": selector, "template": template}
    });
    if !spec["minReadySeconds"].is_null() {
        value["spec"]["minReadySeconds"] = spec["minReadySeconds"].clone();
    }
    annotate(&mut value, revision);
    Object { kind: kind_named("ReplicaSet"), namespace: deployment.namespace.clone(), name, value }
}

fn annotate(value: &mut Value, revision: u64) {
    if !value["metadata"]["annotations"].is_object() {
        value["metadata"]["annotations"] = json!({});
    }
    value["metadata"]["annotations"][REVISION] = json!(revision.to_string());
}

fn revision(object: &Object) -> u64 {
    let text = object.value["metadata"]["annotations"][REVISION].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn status(store: &Store, deployment: &Object, current: Option<&Arc<Object>>, old: &[Arc<Object>]) {
    let desired = deployment.value["spec"]["replicas"].as_i64().unwrap_or(1);
    let min_ready = deployment.value["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    let of = |set: &Object| {
        let mut pods = ownership::children(store, kind_named("Pod"), set);
        pods.retain(|pod| pods::is_active(pod));
        pods
    };
    let updated = current.map(|set| of(set)).unwrap_or_default();
    let all: Vec<Arc<Object>> = updated.iter().cloned().chain(old.iter().flat_map(|set| of(set))).collect();
    let ready = as_number(all.iter().filter(|pod| pods::is_ready(pod)).count());
    let available = as_number(all.iter().filter(|pod| pods::is_available(pod, min_ready)).count());
    let (total, updated) = (as_number(all.len()), as_number(updated.len()));
    let unavailable = match Strategy::of(&deployment.value["spec"]["strategy"], desired) {
        Strategy::Recreate => 0,
        Strategy::RollingUpdate { unavailable, .. } => unavailable,
    };
    let enough = available >= desired - unavailable;
    let complete = updated == desired && total == desired && available >= desired && current.is_some();
    let change = |status: &mut Value| {
        status["observedGeneration"] = deployment.value["metadata"]["generation"].clone();
        status["replicas"] = json!(total);
        status["updatedReplicas"] = json!(updated);
        status["readyReplicas"] = json!(ready);
        status["availableReplicas"] = json!(available);
        status["unavailableReplicas"] = json!((desired - available).max(0));
        let (reason, message) = if enough {
            ("MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        condition(status, "Available", enough, (reason, message));
        let progressing = if complete {
            ("NewReplicaSetAvailable", "ReplicaSet has successfully progressed.")
        } else {
            ("ReplicaSetUpdated", "ReplicaSet is progressing.")
        };
        condition(status, "Progressing", true, progressing);
    };
    let (namespace, name) = (deployment.namespace.as_deref(), &deployment.name);
    note("status", name, store.patch_status(deployment.kind, namespace, name, change));
}

/// Sets a condition; its time of transition moves with its status alone.
pub(super) fn condition(status: &mut Value, kind: &str, holds: bool, (reason, message): (&str, &str)) {
    let value = if holds { "True" } else { "False" };
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(list) = status["conditions"].as_array_mut() else { return };
    let fields = json!({"type": kind, "status": value, "reason": reason, "message": message});
    match list.iter_mut().find(|condition| condition["type"] == kind) {
        Some(found) if found["status"] == value => {
            found["reason"] = fields["reason"].clone();
            found["message"] = fields["message"].clone();
        }
        found => {
            let mut fresh = fields;
            fresh["lastTransitionTime"] = json!(now());
            match found {
                Some(found) => *found = fresh,
                None => list.push(fresh),
            }
        }
    }
}

pub(super) fn as_number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
