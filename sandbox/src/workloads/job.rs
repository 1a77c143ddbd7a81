//! Jobs: pods until enough of them have succeeded, or too many have failed.
use heddle_api::object::Object;
use serde_json::{Value, json};

use super::deployment::{as_number, condition};
use super::{kind_named, note, ownership, pods};
use crate::store::{Store, now};

pub(super) fn reconcile(store: &Store) {
    for job in store.list(kind_named("Job")) {
        if !pods::is_terminating(&job) {
            one(store, &job);
        }
    }
}

/// A job's pods, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) active: i64,
    pub(super) succeeded: i64,
    pub(super) failed: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many more pods.
    Start(i64),
    Complete,
    Fail,
    Wait,
}

pub(super) fn decide(completions: i64, parallelism: i64, backoff_limit: i64, count: Count) -> Step {
    if count.succeeded >= completions {
        return Step::Complete;
    }
    if count.failed > backoff_limit {
        return Step::Fail;
    }
    let wanted = parallelism.min(completions - count.succeeded);
    if count.active < wanted { Step::Start(wanted - count.active) } else { Step::Wait }
}

fn one(store: &Store, job: &Object) {
    let spec = &job.value["spec"];
    if let Some(finish) = finished(job) {
        let ttl = spec["ttlSecondsAfterFinished"].as_i64();
        if ttl.is_some_and(|ttl| pods::age_of(finish) >= ttl) {
            note("expire", &job.name, store.delete(job.kind, job.namespace.as_deref(), &job.name));
        }
        return;
    }
    let count = count(store, job);
    let number = |field: &str, default| spec[field].as_i64().unwrap_or(default);
    let step = match spec["suspend"] == true {
        true => Step::Wait,
        false => decide(number("completions", 1), number("parallelism", 1), number("backoffLimit", 6), count),
    };
    if let Step::Start(more) = step {
        for _ in 0..more {
            note("create", &job.name, store.create(pod(job)));
        }
    }
    if step == Step::Fail {
        let mut running = ownership::children(store, kind_named("Pod"), job);
        running.retain(|pod| pods::is_active(pod));
        for pod in running {
            note("stop", &pod.name, store.delete(pod.kind, pod.namespace.as_deref(), &pod.name));
        }
    }
    status(store, job, step);
}

fn finished(job: &Object) -> Option<&Value> {
    let conditions = job.value["status"]["conditions"].as_array()?;
    let done = |condition: &&Value| condition["type"] == "Complete" || condition["type"] == "Failed";
    Some(&conditions.iter().find(done)?["lastTransitionTime"])
}

fn count(store: &Store, job: &Object) -> Count {
    let owned = ownership::children(store, kind_named("Pod"), job);
    let of = |phase: &str| as_number(owned.iter().filter(|pod| pods::phase(pod) == phase).count());
    let active = owned.iter().filter(|pod| pods::is_active(pod)).count();
    Count { active: as_number(active), succeeded: of("Succeeded"), failed: of("Failed") }
}

fn pod(job: &Object) -> Object {
    let uid = job.uid().unwrap_or_default();
    let labels = [
        ("job-name", job.name.as_str()),
        ("batch.kubernetes.io/job-name", job.name.as_str()),
        ("controller-uid", uid),
        ("batch.kubernetes.io/controller-uid", uid),
    ];
    pods::from_template(job, &pods::random_name(&job.name), &job.value["spec"]["template"], &labels)
}

fn status(store: &Store, job: &Object, step: Step) {
    let count = count(store, job);
    let ready = ownership::children(store, kind_named("Pod"), job);
    let ready = ready.iter().filter(|pod| pods::is_active(pod) && pods::is_ready(pod)).count();
    let change = |status: &mut Value| {
        if status["startTime"].is_null() {
            status["startTime"] = json!(now());
        }
        status["active"] = json!(count.active);
        status["ready"] = json!(as_number(ready));
        status["succeeded"] = json!(count.succeeded);
        status["failed"] = json!(count.failed);
        match step {
            Step::Complete => {
                status["completionTime"] = json!(now());
                let message = "Reached expected number of succeeded pods";
                condition(status, "Complete", true, ("CompletionsReached", message));
            }
            Step::Fail => {
                let message = "Job has reached the specified backoff limit";
                condition(status, "Failed", true, ("BackoffLimitExceeded", message));
            }
            Step::Start(_) | Step::Wait => {}
        }
    };
    note("status", &job.name, store.patch_status(job.kind, job.namespace.as_deref(), &job.name, change));
}
