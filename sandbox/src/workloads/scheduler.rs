//! The scheduler: nodeName and nodeSelector are honoured, else pods spread.
use std::sync::Arc;

use heddle_api::object::Object;
use serde_json::{Value, json};

use super::deployment::condition;
use super::{kind_named, note, ownership, pods};
use crate::store::{Store, selector};

pub(super) fn reconcile(store: &Store) {
    for pod in store.list(kind_named("Pod")) {
        if pods::is_active(&pod) && !pods::is_scheduled(&pod) {
            place(store, &pod);
        }
    }
}

/// Whether a pod of this spec may run on the node.
pub(super) fn fits(pod_spec: &Value, node: &Object) -> bool {
    let named = pod_spec["nodeName"].as_str().is_none_or(|name| name.is_empty() || name == node.name);
    named && selector::matches_map(&pod_spec["nodeSelector"], &node.value["metadata"]["labels"])
}

fn place(store: &Store, pod: &Object) {
    let nodes = store.list(kind_named("Node"));
    let mut open: Vec<&Arc<Object>> = nodes.iter().filter(|node| fits(&pod.value["spec"], node)).collect();
    open.retain(|node| node.value["spec"]["unschedulable"] != true);
    // Siblings apart first, then the emptier node, then the first by name.
    let placed = store.list(kind_named("Pod"));
    let chosen = open.into_iter().min_by_key(|node| {
        let here = || {
            placed.iter().filter(|other| {
                other.value["spec"]["nodeName"] == node.name.as_str() && pods::is_active(other)
            })
        };
        (here().filter(|other| are_siblings(pod, other)).count(), here().count(), node.name.clone())
    });
    let (namespace, name) = (pod.namespace.as_deref(), &pod.name);
    let Some(node) = chosen else {
        let message = format!("0/{} nodes are available: none matches the pod's node selector", nodes.len());
        let change = |status: &mut Value| {
            condition(status, "PodScheduled", false, ("Unschedulable", &message));
        };
        note("schedule", name, store.patch_status(pod.kind, namespace, name, change));
        return;
    };
    let bind = |value: &mut Value| {
        value["spec"]["nodeName"] = json!(node.name);
        let mut status = value["status"].clone();
        condition(&mut status, "PodScheduled", true, ("Scheduled", ""));
        value["status"] = status;
    };
    note("bind", name, store.edit(pod.kind, namespace, name, bind));
}

fn are_siblings(pod: &Object, other: &Object) -> bool {
    ownership::owners(pod).any(|owner| ownership::owners(other).any(|of| of == owner))
}
