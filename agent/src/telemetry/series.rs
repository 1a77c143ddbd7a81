//! The bound on metric series: what peers make us count must not take the agent's memory.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, Registry};

/// Sets of label values, of all families together.
const MOST: usize = 8192;
/// What labels say where there is no more room for what they should say.
pub(super) const OVERFLOW: &str = "overflow";

/// Label sets that are in use; shared by all workers.
#[derive(Clone, Debug)]
pub(super) struct SeriesBudget {
    seen: Arc<Mutex<HashSet<Box<str>>>>,
    most: usize,
    overflow: IntCounter,
}

impl SeriesBudget {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let overflow = IntCounter::new(
            "heddle_agent_metric_series_overflow_total",
            "Connections and requests counted under \"overflow\" because there are too many metric series.",
        )?;
        registry.register(Box::new(overflow.clone()))?;
        Ok(Self { seen: Arc::default(), most: MOST, overflow })
    }

    /// These values, or `overflow` in place of each but the first where there is no room for a further set.
    pub(super) fn admit(&self, family: &str, mut values: Vec<Arc<str>>) -> (Vec<Arc<str>>, bool) {
        let key = values.iter().fold(String::from(family), |key, value| key + "\0" + value);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(key.as_str()) {
            return (values, true);
        }
        if seen.len() < self.most {
            seen.insert(key.into());
            return (values, true);
        }
        for value in values.iter_mut().skip(1) {
            *value = OVERFLOW.into();
        }
        (values, false)
    }

    /// Counts what went into an overflow series.
    pub(super) fn count_overflow(&self) {
        self.overflow.inc();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_everything_is_one_series() {
        let mut budget = SeriesBudget::register(&Registry::new()).unwrap();
        budget.most = 2;
        let values = |name: &str| vec!["source".into(), name.into()];
        for name in ["a", "b", "a"] {
            assert_eq!(budget.admit("f", values(name)), (values(name), true));
        }
        assert_eq!(budget.admit("f", values("c")), (values("overflow"), false));
        assert_eq!(budget.admit("f", values("b")), (values("b"), true));
    }
}
