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

/// The second try of each pair moves on (Istio's `update_frequency` of Envoy's `previous_priorities`).
const TRIES_OF_A_PRIORITY: usize = 2;

/// How good a priority is, percent.
fn health(level: &Level) -> usize {
    (OVERPROVISIONED * level.healthy).checked_div(level.total).unwrap_or(0).min(100)
}

/// What goes where when a request is sent again and may leave the priorities that it was sent to, which `left` lists by
/// try; `None`: as for a first try. After every second try those are left out, until none is over: then all count again.
pub(super) fn elsewhere(levels: &[Level], left: &[u32]) -> Option<Vec<Load>> {
    if left.len() < TRIES_OF_A_PRIORITY {
        return None;
    }
    let mut out = vec![false; levels.len()];
    let mut rest = Vec::new();
    for pair in left.chunks_exact(TRIES_OF_A_PRIORITY) {
        pair.iter().filter_map(|at| usize::try_from(*at).ok()).for_each(|at| {
            if let Some(out) = out.get_mut(at) {
                *out = true;
            }
        });
        rest = levels.iter().zip(&out).map(|(level, out)| if *out { 0 } else { health(level) }).collect();
        if rest.iter().all(|health| *health == 0) {
            out.fill(false);
            rest = levels.iter().map(health).collect();
        }
    }
    let available = rest.iter().sum::<usize>().min(100);
    if available == 0 {
        return None;
    }
    let percents = split(rest.into_iter().map(|health| health * 100 / available));
    Some(percents.into_iter().map(|percent| Load { percent, panic: false }).collect())
}

/// `panic_threshold`: percent; Istio's `minHealthPercent`.
pub(super) fn loads(levels: &[Level], panic_threshold: u32) -> Vec<Load> {
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
    fn every_second_try_leaves_the_priorities_behind_it() {
        let all = |healthy: [usize; 3]| healthy.map(|healthy| Level { healthy, total: 2 });
        type Row = ([usize; 3], &'static [u32], Option<[u32; 3]>);
        let rows: [Row; 10] = [
            ([2, 2, 2], &[], None),
            ([2, 2, 2], &[0], None),
            ([2, 2, 2], &[0, 0], Some([0, 100, 0])),
            ([2, 2, 2], &[0, 0, 1], Some([0, 100, 0])),
            ([2, 2, 2], &[0, 0, 1, 1], Some([0, 0, 100])),
            ([2, 2, 2], &[0, 0, 1, 1, 2, 2], Some([100, 0, 0])),
            ([2, 2, 2], &[0, 1], Some([0, 0, 100])),
            ([2, 0, 1], &[0, 0], Some([0, 0, 100])),
            ([2, 1, 2], &[0, 0], Some([0, 70, 30])),
            ([0, 0, 0], &[0, 0], None),
        ];
        for (healthy, left, wanted) in rows {
            let loads = elsewhere(&all(healthy), left);
            let found = loads.map(|loads| loads.iter().map(|load| load.percent).collect::<Vec<_>>());
            assert_eq!(found, wanted.map(Vec::from), "{healthy:?} after {left:?}");
        }
    }

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
