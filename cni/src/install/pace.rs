//! How fast repairs may follow each other: at once at first, ever slower against a writer that undoes each one.

use std::time::Duration;

/// This many at once.
const AT_ONCE: u32 = 5;
/// A quiet time of this length forgives one.
const FORGIVES: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(60);

/// Counts repairs; time is an argument, as the length since a fixed moment.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    recent: u32,
    last: Duration,
}

impl Pace {
    /// A repair was made. Returns how long to leave the folder alone now.
    pub fn repaired(&mut self, now: Duration) -> Duration {
        let quiet = now.saturating_sub(self.last).as_secs() / FORGIVES.as_secs();
        self.recent = self.recent.saturating_sub(u32::try_from(quiet).unwrap_or(u32::MAX)).saturating_add(1);
        self.last = now;
        let over = self.recent.saturating_sub(AT_ONCE);
        if over == 0 {
            return Duration::ZERO;
        }
        // 1 s, 2 s, 4 s …
        Duration::from_secs(1_u64 << (over - 1).min(6)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_undoes_every_repair_cannot_drive_more_than_one_a_minute() {
        let (mut pace, mut now, mut waits) = (Pace::default(), Duration::ZERO, Vec::new());
        for _ in 0..14 {
            let wait = pace.repaired(now);
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits[..11], [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32]);
        assert!(waits[11..].iter().all(|wait| (16..=60).contains(wait)), "{waits:?}");
        assert_eq!(
            pace.repaired(now + Duration::from_secs(3600)),
            Duration::ZERO,
            "an hour of quiet forgives all"
        );
    }
}
