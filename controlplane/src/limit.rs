//! How much one caller may ask for: a token bucket for each, by its node or its address.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Buckets by node. A node that asks for nothing for as long as a bucket takes to fill is forgotten.
#[derive(Debug)]
pub struct Limiter {
    burst: f64,
    per_second: f64,
    buckets: HashMap<Arc<str>, (f64, Instant)>,
}

impl Limiter {
    /// At most `burst` at once, and `per_second` in the long run.
    pub fn new(burst: u32, per_second: u32) -> Self {
        Self { burst: burst.into(), per_second: per_second.into(), buckets: HashMap::new() }
    }

    /// Takes one, if the node has one left.
    pub fn take(&mut self, node: &str, now: Instant) -> bool {
        let full = Duration::from_secs_f64(self.burst / self.per_second);
        if self.buckets.len() > 10_000 {
            self.buckets.retain(|_, (_, at)| now.saturating_duration_since(*at) < full);
        }
        let (left, at) = self.buckets.entry(node.into()).or_insert((self.burst, now));
        let gained = now.saturating_duration_since(*at).as_secs_f64() * self.per_second;
        *left = (*left + gained).min(self.burst);
        *at = now;
        let some = *left >= 1.0;
        if some {
            *left -= 1.0;
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_cannot_use_up_what_another_has() {
        let mut limiter = Limiter::new(2, 1);
        let start = Instant::now();
        assert!(limiter.take("a", start) && limiter.take("a", start));
        assert!(!limiter.take("a", start));
        assert!(limiter.take("b", start));
        assert!(limiter.take("a", start + Duration::from_secs(1)));
        assert!(!limiter.take("a", start + Duration::from_secs(1)));
    }
}
