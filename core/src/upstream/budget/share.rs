//! The bound on repetitions where nobody has written one: a share of the requests of the last seconds.
//!
//! A share of what is under way at the moment, as Envoy's `retry_budget` has it, refuses just when it is needed: an
//! endpoint that ends takes its whole part of the requests under way with it, and all of those are sent again at
//! once. Over some seconds such a burst is little, and an overload is still never multiplied. Figures: Linkerd's
//! `RetryBudget` and the Gateway API's GEP-3388.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Seconds that count.
const WINDOW: u64 = 10;
/// So many percent of the requests may be sent again.
const PERCENT: u64 = 20;
/// And always so many a second.
const LEAST: u64 = 10;

/// What began in each of the last seconds. Threads that look at the same moment may each take the last one.
#[derive(Debug, Default)]
pub(super) struct Share {
    since: OnceLock<Instant>,
    requests: Seconds,
    retries: Seconds,
}

impl Share {
    /// A request begins.
    pub(super) fn request(&self, now: Instant) {
        self.requests.add(self.second(now));
    }

    /// A request is to be sent again; whether it may.
    pub(super) fn retry(&self, now: Instant) -> bool {
        let second = self.second(now);
        let most = self.requests.sum(second) * PERCENT / 100 + LEAST * WINDOW;
        let may = self.retries.sum(second) < most;
        if may {
            self.retries.add(second);
        }
        may
    }

    /// From 1, so that 0 is none.
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(*self.since.get_or_init(|| now)).as_secs() + 1
    }
}

/// By second modulo the window: the second in the upper half, how many in the lower.
#[derive(Debug, Default)]
struct Seconds([AtomicU64; WINDOW as usize]);

impl Seconds {
    fn add(&self, second: u64) {
        let slot = &self.0[(second % WINDOW) as usize];
        let more = |held: u64| if held >> 32 == second { held + 1 } else { second << 32 | 1 };
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(more(held)));
    }

    fn sum(&self, second: u64) -> u64 {
        let held = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        held.filter(|held| (held >> 32) + WINDOW > second).map(|held| held & u64::from(u32::MAX)).sum()
    }
}
