//! StatefulSets: pods with stable names, made and replaced in order.
use std::sync::Arc;

use heddle_api::object::Object;
use serde_json::{Value, json};

use super::deployment::as_number;
use super::{kind_named, note, ownership, pods, replica_set};
use crate::store::Store;

const REVISION: &str = "controller-revision-hash";

pub(super) fn reconcile(store: &Store) {
    for set in store.list(kind_named("StatefulSet")) {
        if !pods::is_terminating(&set) {
            one(store, &set);
        }
    }
}

/// What to do next with the pods of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Create(i64),
    Delete(i64),
}

/// One pod of a set, by its ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) ordinal: i64,
    pub(super) available: bool,
    pub(super) terminating: bool,
    pub(super) finished: bool,
    pub(super) outdated: bool,
}

/// How a set is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) first: i64,
    pub(super) replicas: i64,
    pub(super) parallel: bool,
    /// Ordinals from here on follow the template; none do under OnDelete.
    pub(super) partition: Option<i64>,
}

/// The steps that may be taken now: in order, one at a time, unless the set is parallel.
pub(super) fn decide(order: Order, members: &[Member]) -> Vec<Step> {
    let end = order.first + order.replicas;
    let mut steps = Vec::new();
    for ordinal in order.first..end {
        match members.iter().find(|member| member.ordinal == ordinal) {
            None => steps.push(Step::Create(ordinal)),
            Some(member) if member.finished && !member.terminating => steps.push(Step::Delete(ordinal)),
            Some(member) if !order.parallel && (member.terminating || !member.available) => {
                // A broken pod of an old revision must not hold up the revision that mends it.
                let replaceable = member.outdated && order.partition.is_some_and(|from| ordinal >= from);
                let mend = (replaceable && !member.terminating).then_some(Step::Delete(ordinal));
                return steps.into_iter().chain(mend).collect();
            }
            Some(_) => {}
        }
        if !order.parallel && !steps.is_empty() {
            return steps;
        }
    }
    let mut excess: Vec<&Member> =
        members.iter().filter(|member| member.ordinal < order.first || member.ordinal >= end).collect();
    excess.sort_by_key(|member| -member.ordinal);
    if !order.parallel && excess.iter().any(|member| member.terminating) {
        return steps;
    }
    let at_once = if order.parallel { excess.len() } else { 1 };
    let leaving = excess.iter().filter(|member| !member.terminating).take(at_once);
    steps.extend(leaving.map(|member| Step::Delete(member.ordinal)));
    if steps.is_empty() && members.iter().all(|member| member.available && !member.terminating) {
        let updating = members.iter().filter(|member| member.outdated);
        let updating = updating.filter(|member| order.partition.is_some_and(|from| member.ordinal >= from));
        steps.extend(updating.map(|member| member.ordinal).max().map(Step::Delete));
    }
    steps
}

fn one(store: &Store, set: &Object) {
    let spec = &set.value["spec"];
    let revision = pods::hash(&spec["template"]);
    let min_ready = spec["minReadySeconds"].as_i64().unwrap_or(0);
    let owned = ownership::children(store, kind_named("Pod"), set);
    let members: Vec<Member> = owned
        .iter()
        .filter_map(|pod| {
            Some(Member {
                ordinal: ordinal(set, pod)?,
                available: pods::is_available(pod, min_ready),
                terminating: pods::is_terminating(pod),
                finished: pods::is_finished(pod),
                outdated: pods::label(pod, REVISION) != revision,
            })
        })
        .collect();
    for step in decide(order(spec), &members) {
        match step {
            Step::Create(ordinal) => {
                note("create", &set.name, store.create(pod(set, ordinal, &revision)));
            }
            Step::Delete(ordinal) => {
                let name = format!("{}-{ordinal}", set.name);
                let leaving = owned.iter().find(|pod| pod.name == name);
                match leaving {
                    Some(pod) if pods::is_finished(pod) => replica_set::remove(store, pod),
                    Some(pod) => {
                        note("delete", &name, store.delete(pod.kind, pod.namespace.as_deref(), &name));
                    }
                    None => {}
                }
            }
        }
    }
    status(store, set, &revision, min_ready);
}

fn order(spec: &Value) -> Order {
    let rolling = spec["updateStrategy"]["type"] != "OnDelete";
    Order {
        first: spec["ordinals"]["start"].as_i64().unwrap_or(0),
        replicas: spec["replicas"].as_i64().unwrap_or(1),
        parallel: spec["podManagementPolicy"] == "Parallel",
        partition: rolling
            .then(|| spec["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0)),
    }
}

fn ordinal(set: &Object, pod: &Object) -> Option<i64> {
    pod.name.strip_prefix(&set.name)?.strip_prefix('-')?.parse().ok()
}

fn pod(set: &Object, ordinal: i64, revision: &str) -> Object {
    let name = format!("{}-{ordinal}", set.name);
    let index = ordinal.to_string();
    let labels = [
        (REVISION, revision),
        ("statefulset.kubernetes.io/pod-name", name.as_str()),
        ("apps.kubernetes.io/pod-index", index.as_str()),
    ];
    let mut pod = pods::from_template(set, &name, &set.value["spec"]["template"], &labels);
    pod.value["spec"]["hostname"] = json!(name);
    if let Some(service) = set.value["spec"]["serviceName"].as_str() {
        pod.value["spec"]["subdomain"] = json!(service);
    }
    // There are no volumes to claim: each claim is an empty directory of the pod.
    let claims = set.value["spec"]["volumeClaimTemplates"].as_array().cloned().unwrap_or_default();
    let mut volumes = pod.value["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    volumes.extend(claims.iter().map(|claim| json!({"name": claim["metadata"]["name"], "emptyDir": {}})));
    if !volumes.is_empty() {
        pod.value["spec"]["volumes"] = json!(volumes);
    }
    pod
}

fn status(store: &Store, set: &Object, revision: &str, min_ready: i64) {
    let mut owned: Vec<Arc<Object>> = ownership::children(store, kind_named("Pod"), set);
    owned.retain(|pod| !pods::is_finished(pod));
    let count = |holds: &dyn Fn(&Object) -> bool| as_number(owned.iter().filter(|pod| holds(pod)).count());
    let change = |status: &mut Value| {
        status["observedGeneration"] = set.value["metadata"]["generation"].clone();
        status["replicas"] = json!(owned.len());
        status["readyReplicas"] = json!(count(&pods::is_ready));
        status["availableReplicas"] = json!(count(&|pod| pods::is_available(pod, min_ready)));
        status["updatedReplicas"] = json!(count(&|pod| pods::label(pod, REVISION) == revision));
        status["updateRevision"] = json!(format!("{}-{revision}", set.name));
    };
    note("status", &set.name, store.patch_status(set.kind, set.namespace.as_deref(), &set.name, change));
}
