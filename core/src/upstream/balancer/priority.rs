//! How much goes to which priority, by how many of its endpoints are healthy.
//!
//! As Envoy's `load_balancer_impl.cc` has it: a priority is as good as 1.4 times its healthy part, what it cannot take goes
//! to the next, and below the panic threshold health is not looked at. Shares are percent and sum up to 100.

/// Endpoints of one priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) total: usize,
    pub(super) healthy: usize,
}

/// What goes to a priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) percent: u32,
    /// To all of its endpoints, healthy or not.
    pub(super) panic: bool,
}

const OVERPROVISIONED: usize = 140;

/// `panic_threshold`: percent; Istio's `minHealthPercent`.
pub(super) fn loads(levels: &[Level], panic_threshold: u32) -> Vec<Load> {
    let health =
        |level: &Level| (OVERPROVISIONED * level.healthy).checked_div(level.total).unwrap_or(0).min(100);
    let available = levels.iter().map(health).sum::<usize>().min(100);
    if available == 0 && panic_threshold == 0 {
        let first = |at| Load { percent: if at == 0 { 100 } else { 0 }, panic: false };
        return (0..levels.len()).map(first).collect();
    }
    let below = |level: &Level| {
        level.healthy * 100 < panic_threshold as usize * level.total
            || level.total == 0 && panic_threshold > 0
    };
    let panics: Vec<bool> = levels.iter().map(|level| available < 100 && below(level)).collect();
    let percents = if panics.iter().all(|panic| *panic) {
        let total: usize = levels.iter().map(|level| level.total).sum();
        split(levels.iter().map(|level| (100 * level.total).checked_div(total).unwrap_or(0)))
    } else {
        split(levels.iter().map(|level| (health(level) * 100).checked_div(available).unwrap_or(0)))
    };
    percents.into_iter().zip(panics).map(|(percent, panic)| Load { percent, panic }).collect()
}

/// In order, until 100 is spent; what rounding leaves goes to the first that has anything.
fn split(wanted: impl Iterator<Item = usize>) -> Vec<u32> {
    let mut left = 100;
    let mut given: Vec<u32> = wanted
        .map(|percent| {
            let percent = u32::try_from(percent).unwrap_or(100).min(left);
            left -= percent;
            percent
        })
        .collect();
    let at = given.iter().position(|percent| *percent > 0).unwrap_or(0);
    if let Some(first) = given.get_mut(at) {
        *first += left;
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_envoys() {
        // As Envoy's source has it; its documentation rounds otherwise.
        type Row = (&'static [(usize, usize)], u32, &'static [u32], &'static [bool]);
        let rows: [Row; 12] = [
            (&[(100, 100), (100, 100)], 0, &[100, 0], &[false, false]),
            (&[(72, 100), (100, 100)], 0, &[100, 0], &[false, false]),
            (&[(71, 100), (100, 100)], 0, &[99, 1], &[false, false]),
            (&[(50, 100), (100, 100)], 0, &[70, 30], &[false, false]),
            (&[(25, 100), (100, 100)], 50, &[35, 65], &[false, false]),
            (&[(25, 100), (25, 100)], 50, &[50, 50], &[true, true]),
            (&[(5, 100), (65, 100)], 50, &[8, 92], &[true, false]),
            (&[(0, 100), (0, 100)], 0, &[100, 0], &[false, false]),
            (&[(0, 100), (0, 300)], 50, &[25, 75], &[true, true]),
            (&[(0, 3), (1, 3), (3, 3)], 0, &[0, 46, 54], &[false, false, false]),
            (&[(1, 10)], 0, &[100], &[false]),
            (&[(1, 10)], 11, &[100], &[true]),
        ];
        for (levels, threshold, percents, panics) in rows {
            let levels: Vec<Level> =
                levels.iter().map(|(healthy, total)| Level { healthy: *healthy, total: *total }).collect();
            let found = loads(&levels, threshold);
            assert_eq!(found.iter().map(|load| load.percent).collect::<Vec<_>>(), percents, "{levels:?}");
            assert_eq!(found.iter().map(|load| load.panic).collect::<Vec<_>>(), panics, "{levels:?}");
        }
    }
}
