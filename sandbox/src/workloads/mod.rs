//! The controllers of a cluster, as far as its pods need them.
//!
//! Each is a level-triggered `reconcile(store)`: list, decide, write the difference. One task runs them all in
//! turn after every change, so that they never race each other.
//!
//! ```text
//! Deployment ─► ReplicaSet ─► Pod ─► scheduler ─► (kubelet)
//! StatefulSet, DaemonSet, Job ──┘      └─► EndpointSlice
//! ```
mod daemon_set;
mod deployment;
mod endpoints;
mod garbage;
mod job;
mod ownership;
mod pods;
mod replica_set;
mod rollout;
mod scheduler;
mod stateful_set;
#[cfg(test)]
mod tests;

pub use rollout::progress;

use std::time::Duration;

use heddle_api::kind::{KINDS, KindInfo};

use crate::store::{Store, StoreError};

/// Changes come in bursts: a rollout, a pod's start. One pass for each is enough.
const SETTLE: Duration = Duration::from_millis(5);
/// Some decisions depend on time alone: `minReadySeconds`, `ttlSecondsAfterFinished`.
const TICK: Duration = Duration::from_secs(1);

/// Runs every controller until the task is aborted.
pub async fn run(store: Store) {
    let mut changed = store.changed();
    loop {
        changed.borrow_and_update();
        pass(&store);
        let waited = tokio::time::timeout(TICK, changed.changed()).await;
        if matches!(waited, Ok(Err(_))) {
            return;
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// One pass of all controllers. An object that cannot be reconciled does not stop the others.
fn pass(store: &Store) {
    garbage::reconcile(store);
    deployment::reconcile(store);
    replica_set::reconcile(store);
    stateful_set::reconcile(store);
    daemon_set::reconcile(store);
    job::reconcile(store);
    scheduler::reconcile(store);
    endpoints::reconcile(store);
}

/// A kind that the table of kinds is known to have.
fn kind_named(name: &'static str) -> &'static KindInfo {
    KINDS.iter().find(|info| info.kind == name).expect("the table of kinds has every workload kind")
}

/// A conflict or a vanished object is met again, and mended, on the next pass.
fn note<T>(what: &str, name: &str, result: Result<T, StoreError>) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(StoreError::NotFound { .. } | StoreError::Conflict { .. } | StoreError::AlreadyExists { .. }) => {
            None
        }
        Err(error) => {
            tracing::warn!(what, name, %error, "cannot reconcile");
            None
        }
    }
}
