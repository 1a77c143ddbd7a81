//! New endpoints are eased in (Envoy's slow start).

use std::time::{Duration, Instant};

use crate::upstream::model::Warmup;

/// The part of its weight that an endpoint has by now: (time ÷ duration) ^ (1 ÷ aggression), at least the minimum.
pub(super) fn factor(warmup: Option<Warmup>, joined: Instant, now: Instant) -> f64 {
    let Some(warmup) = warmup else { return 1.0 };
    let age = now.saturating_duration_since(joined);
    if age >= warmup.duration {
        return 1.0;
    }
    let part = age.max(Duration::from_millis(1)).as_secs_f64() / warmup.duration.as_secs_f64();
    let aggression = if warmup.aggression > 0.0 { warmup.aggression } else { 1.0 };
    // Nobody may be left without any: turns go by one over it.
    part.powf(1.0 / aggression).max(warmup.minimum_percent / 100.0).clamp(0.000_1, 1.0)
}

/// Until when it is eased in, if it still is.
pub(super) fn until(warmup: Option<Warmup>, joined: Instant, now: Instant) -> Option<Instant> {
    Some(joined + warmup?.duration).filter(|until| *until > now)
}
