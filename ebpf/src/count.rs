//! Refusals, counted by reason and by pod.

use heddle_abi::{DropKey, Reason};

use crate::maps::{COUNTERS, POD_DROPS};

/// A refusal and the pod that it concerns, by its host interface (0: not known here).
#[must_use]
pub struct Refused {
    reason: Reason,
    ifindex: u32,
}

impl Refused {
    /// Of a pod.
    #[inline(always)]
    pub fn of(ifindex: u32, reason: Reason) -> Self {
        Self { reason, ifindex }
    }

    /// Of no pod that is known here.
    #[inline(always)]
    pub fn anywhere(reason: Reason) -> Self {
        Self { reason, ifindex: 0 }
    }

    /// Counts it and gives the verdict.
    #[inline(always)]
    pub fn count<V>(self, verdict: V) -> V {
        if let Some(counter) = COUNTERS.get_ptr_mut(self.reason as u32) {
            // SAFETY: this CPU's own slot; programs are not pre-empted by themselves on one CPU.
            unsafe { *counter += 1 };
        }
        if self.ifindex != 0 {
            count_for_pod(DropKey::new(self.ifindex, self.reason));
        }
        verdict
    }
}

#[inline(always)]
fn count_for_pod(key: DropKey) {
    match POD_DROPS.get_ptr_mut(key) {
        // SAFETY: this CPU's own slot.
        Some(counter) => unsafe { *counter += 1 },
        // A full map loses this pod's share; COUNTERS has the total.
        None => drop(POD_DROPS.insert(key, 1, 0)),
    }
}
