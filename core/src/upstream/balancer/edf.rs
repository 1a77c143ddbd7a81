//! Turns by weight: whoever is due earliest goes next and is due again after 1/weight (earliest deadline first).
//!
//! Equal weights make plain turns; any weights are met exactly over time, without bursts. Source: Envoy `edf_scheduler.h`.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// When each is due, relative to now, kept while schedules are made anew.
pub(super) type Lags = Vec<Option<f64>>;

/// A schedule of endpoints.
#[derive(Debug, Default)]
pub(super) struct Edf {
    heap: BinaryHeap<Entry>,
    now: f64,
    order: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    due: f64,
    /// Of equals, who waits longer.
    order: u64,
    index: u32,
}

impl Edf {
    /// A schedule. Who has a lag keeps its turn; the others start spread over one period each, the first at `start`.
    pub(super) fn new(members: &[u32], lags: &Lags, start: u64, weight: impl Fn(u32) -> f64) -> Self {
        let mut edf = Self { heap: BinaryHeap::with_capacity(members.len()), now: 0.0, order: 0 };
        let count = members.len();
        let first = usize::try_from(start % (count.max(1) as u64)).unwrap_or(0);
        for step in 0..count {
            let index = members[(first + step) % count];
            let period = 1.0 / weight(index);
            let known = lags.get(index as usize).copied().flatten();
            let due = known.unwrap_or(period * (step + 1) as f64 / count as f64).clamp(0.0, period);
            edf.push(due, index);
        }
        edf
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self, weight: impl Fn(u32) -> f64) -> Option<u32> {
        let Entry { due, index, .. } = self.heap.pop()?;
        self.now = due;
        self.push(due + 1.0 / weight(index), index);
        Some(index)
    }

    /// Adds to `lags` when each is due from now on.
    pub(super) fn lags(&self, lags: &mut Lags) {
        for entry in &self.heap {
            if let Some(lag) = lags.get_mut(entry.index as usize) {
                *lag = Some(entry.due - self.now);
            }
        }
    }

    fn push(&mut self, due: f64, index: u32) {
        self.order += 1;
        self.heap.push(Entry { due, order: self.order, index });
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives its greatest: who is due first.
        other.due.total_cmp(&self.due).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
