//! The wall clock, which decides whether a certificate may be used: it jumps, and a suspended machine's timers do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// The time of day; tests shift it.
#[derive(Clone, Debug, Default)]
pub struct WallClock {
    shift_seconds: Arc<AtomicI64>,
}

impl WallClock {
    /// Now.
    pub fn now(&self) -> SystemTime {
        let shift = self.shift_seconds.load(Ordering::Relaxed);
        let by = Duration::from_secs(shift.unsigned_abs());
        if shift < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
    }

    /// Makes every clone show another time from now on.
    #[cfg(test)]
    pub(super) fn shift(&self, seconds: i64) {
        self.shift_seconds.store(seconds, Ordering::Relaxed);
    }
}
