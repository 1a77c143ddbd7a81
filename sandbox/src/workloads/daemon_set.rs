//! DaemonSets: one pod on each node that the template's nodeSelector takes.
use std::sync::Arc;

use heddle_api::object::Object;
use serde_json::{Value, json};

use super::deployment::as_number;
use super::{kind_named, note, ownership, pods, replica_set, rollout, scheduler};
use crate::store::Store;

const REVISION: &str = "controller-revision-hash";

pub(super) fn reconcile(store: &Store) {
    for set in store.list(kind_named("DaemonSet")) {
        if !pods::is_terminating(&set) {
            one(store, &set);
        }
    }
}

fn one(store: &Store, set: &Object) {
    let template = &set.value["spec"]["template"];
    let revision = pods::hash(template);
    let mut nodes = store.list(kind_named("Node"));
    nodes.retain(|node| scheduler::fits(&template["spec"], node));
    let owned = ownership::children(store, kind_named("Pod"), set);
    for node in &nodes {
        if !owned.iter().any(|pod| is_on(pod, &node.name)) {
            let labels = [(REVISION, revision.as_str())];
            let mut pod = pods::from_template(set, &pods::random_name(&set.name), template, &labels);
            pod.value["spec"]["nodeName"] = json!(node.name);
            note("create", &set.name, store.create(pod));
        }
    }
    for pod in owned.iter().filter(|pod| !pods::is_terminating(pod)) {
        if pods::is_finished(pod) {
            replica_set::remove(store, pod);
        } else if !nodes.iter().any(|node| is_on(pod, &node.name)) {
            delete(store, pod);
        }
    }
    update(store, set, &revision, &owned);
    status(store, set, &revision, &nodes);
}

/// Replaces outdated pods, never more at once than `maxUnavailable`.
fn update(store: &Store, set: &Object, revision: &str, owned: &[Arc<Object>]) {
    let strategy = &set.value["spec"]["updateStrategy"];
    if strategy["type"] == "OnDelete" {
        return;
    }
    let bound = &strategy["rollingUpdate"]["maxUnavailable"];
    let bound = if bound.is_null() { 1 } else { rollout::amount(bound, as_number(owned.len()), true).max(1) };
    let unavailable = owned.iter().filter(|pod| pods::is_terminating(pod) || !pods::is_ready(pod)).count();
    let outdated = owned.iter().filter(|pod| pods::label(pod, REVISION) != revision && pods::is_active(pod));
    let (ready, broken): (Vec<_>, Vec<_>) = outdated.partition(|pod| pods::is_ready(pod));
    broken.iter().for_each(|pod| delete(store, pod));
    let room = usize::try_from(bound).unwrap_or(1).saturating_sub(unavailable);
    ready.iter().take(room).for_each(|pod| delete(store, pod));
}

fn delete(store: &Store, pod: &Object) {
    note("delete", &pod.name, store.delete(pod.kind, pod.namespace.as_deref(), &pod.name));
}

fn is_on(pod: &Object, node: &str) -> bool {
    pod.value["spec"]["nodeName"] == node
}

fn status(store: &Store, set: &Object, revision: &str, nodes: &[Arc<Object>]) {
    let mut owned = ownership::children(store, kind_named("Pod"), set);
    owned.retain(|pod| pods::is_active(pod) && nodes.iter().any(|node| is_on(pod, &node.name)));
    let count = |holds: &dyn Fn(&Object) -> bool| as_number(owned.iter().filter(|pod| holds(pod)).count());
    let change = |status: &mut Value| {
        let ready = count(&pods::is_ready);
        status["observedGeneration"] = set.value["metadata"]["generation"].clone();
        status["desiredNumberScheduled"] = json!(nodes.len());
        status["currentNumberScheduled"] = json!(owned.len());
        status["numberMisscheduled"] = json!(0);
        status["numberReady"] = json!(ready);
        status["numberAvailable"] = json!(ready);
        status["numberUnavailable"] = json!(as_number(nodes.len()) - ready);
        status["updatedNumberScheduled"] = json!(count(&|pod| pods::label(pod, REVISION) == revision));
    };
    note("status", &set.name, store.patch_status(set.kind, set.namespace.as_deref(), &set.name, change));
}
