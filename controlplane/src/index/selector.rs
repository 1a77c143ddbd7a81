//! Label selectors.

use super::input::Labels;

/// Whether every wanted label is there; an empty selector selects everything.
pub fn selects(wanted: &Labels, labels: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
