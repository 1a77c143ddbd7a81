//! When to renew, and how long to wait after a failure; pure.

use std::time::{Duration, SystemTime};

use crate::control::{Backoff, jitter};

/// The most that a failed attempt is waited out, for certificates of a day.
const RETRY_MOST: Duration = Duration::from_secs(150);
const RETRY_LEAST: Duration = Duration::from_millis(200);

/// When to renew a certificate that was issued just now: about half of what is left of it, 10 % to spread nodes.
pub(super) fn after_issue(now: SystemTime, not_after: SystemTime, random: u64) -> SystemTime {
    let left = not_after.duration_since(now).unwrap_or_default();
    now + left * 9 / 20 + jitter(left / 10, random)
}

/// When to renew a certificate that was found on the tmpfs. `not_before` may be back-dated, which only makes it sooner.
pub(super) fn after_load(
    now: SystemTime,
    (not_before, not_after): (SystemTime, SystemTime),
    random: u64,
) -> SystemTime {
    let left = not_after.duration_since(now).unwrap_or_default();
    let half = not_after.duration_since(not_before).unwrap_or_default() / 2;
    now + left.saturating_sub(half) + jitter(left / 10, random)
}

/// Waits between failures: a second, doubled up to 150 s, scaled down where certificates live for minutes.
pub(super) fn backoff(ttl: Duration) -> Backoff {
    Backoff::new(Duration::from_secs(1), longest_wait(ttl))
}

/// The longest of those waits.
pub(super) fn longest_wait(ttl: Duration) -> Duration {
    (ttl / 20).clamp(RETRY_LEAST, RETRY_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_new_certificate_is_renewed_around_half_of_its_life() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        for random in [0, 1, 40_000, u64::MAX] {
            let wait = after_issue(now, now + DAY, random).duration_since(now).unwrap_or_default();
            assert!(wait >= DAY * 9 / 20 && wait <= DAY * 11 / 20, "{wait:?}");
        }
    }

    #[test]
    fn a_loaded_certificate_past_its_half_life_is_renewed_soon_and_before_its_end() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let late = after_load(now, (now - DAY * 3 / 4, now + DAY / 4), u64::MAX);
        assert!(late >= now && late <= now + DAY / 40);
        let early = after_load(now, (now - DAY / 4, now + DAY * 3 / 4), 0);
        assert_eq!(early, now + DAY / 4);
    }

    #[test]
    fn waits_are_bounded_by_150_seconds_and_shrink_with_the_lifetime() {
        assert_eq!(longest_wait(DAY), Duration::from_secs(150));
        assert_eq!(longest_wait(Duration::from_secs(60)), Duration::from_secs(3));
        assert_eq!(longest_wait(Duration::from_secs(1)), Duration::from_millis(200));
    }
}
