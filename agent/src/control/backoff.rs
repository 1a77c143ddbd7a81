//! Waiting between attempts: exponential, with jitter, so that a thousand agents do not come back at once.

use std::time::Duration;

/// The next wait doubles, up to a bound; what is waited is a random part of it, at least half.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        let first = first.min(most);
        Self { first, most, next: first }
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait before the next attempt; `random` is any number.
    pub(crate) fn wait(&mut self, random: u64) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.most);
        whole / 2 + jitter(whole / 2, random)
    }
}

/// A part of `most`, from nothing to all of it.
pub(crate) fn jitter(most: Duration, random: u64) -> Duration {
    const PARTS: u32 = 1 << 16;
    let part = u32::try_from(random % u64::from(PARTS)).unwrap_or(0);
    most / PARTS * part
}

/// A random number for jitter. Zero where the system has no randomness to give: then there is no jitter.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0;
    }
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_over_after_a_success() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second * 8);
        let waits: Vec<_> = (0..6).map(|_| backoff.wait(u64::MAX)).collect();
        for (wait, whole) in waits.iter().zip([1, 2, 4, 8, 8, 8]) {
            assert!(*wait <= second * whole && *wait >= second * whole / 2, "{wait:?} of {whole} s");
        }
        backoff.reset();
        assert!(backoff.wait(0) == second / 2);
    }
}
