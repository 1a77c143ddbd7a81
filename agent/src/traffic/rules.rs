//! What a served pod is judged by: its newest word while it is enrolled, and the last one while it is on its way out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use heddle_core::names::PodUid;
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::LocalWorkload;

/// Of one worker's pods.
#[derive(Debug, Default)]
pub struct Rules {
    last: RefCell<HashMap<PodUid, Option<Arc<LocalWorkload>>>>,
}

impl Rules {
    /// The pod is served from now on.
    pub fn begin(&self, pod: &PodUid, snapshot: &Snapshot) {
        let mut last = self.last.borrow_mut();
        let rules = last.entry(pod.clone()).or_default();
        if let Some(enrolled) = enrolled(snapshot, pod) {
            *rules = Some(enrolled);
        }
    }

    /// Keeps what a snapshot says of the pods that are served.
    pub fn learn(&self, snapshot: &Snapshot) {
        let mut last = self.last.borrow_mut();
        last.retain(|pod, _| snapshot.local(pod).is_some());
        for (pod, rules) in last.iter_mut() {
            if let Some(enrolled) = enrolled(snapshot, pod) {
                *rules = Some(enrolled);
            }
        }
    }

    /// The pod is gone.
    pub fn forget(&self, pod: &PodUid) {
        self.last.borrow_mut().remove(pod);
    }

    /// What judges a connection of the pod. That the controller released the pod does not refuse what was captured
    /// before the kernel did; a pod that it does not know is judged by nothing.
    pub fn of(&self, pod: &PodUid, snapshot: &Snapshot) -> Option<Arc<LocalWorkload>> {
        let known = snapshot.local(pod)?;
        if known.enrolled {
            return Some(known.clone());
        }
        Some(self.last.borrow().get(pod).cloned().flatten().unwrap_or_else(|| known.clone()))
    }
}

fn enrolled(snapshot: &Snapshot, pod: &PodUid) -> Option<Arc<LocalWorkload>> {
    snapshot.local(pod).filter(|local| local.enrolled).cloned()
}
