//! The arithmetic of a rolling update, without a store: how many replicas each ReplicaSet should have next.
use serde_json::Value;

/// A ReplicaSet, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replicas {
    /// What its spec asks for.
    pub(super) wanted: i64,
    /// Pods that have not ended, those that are about to included.
    pub(super) existing: i64,
    pub(super) available: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    Recreate,
    RollingUpdate { surge: i64, unavailable: i64 },
}

/// What the ReplicaSets' specs should ask for: the new one's, and the old ones' in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) new: i64,
    pub(super) old: Vec<i64>,
}

impl Strategy {
    /// Percentages of `desired`: surge rounds up, unavailable rounds down, and not both may be nothing.
    pub(super) fn of(strategy: &Value, desired: i64) -> Strategy {
        if strategy["type"] == "Recreate" {
            return Strategy::Recreate;
        }
        let surge = amount(&strategy["rollingUpdate"]["maxSurge"], desired, true);
        let unavailable = amount(&strategy["rollingUpdate"]["maxUnavailable"], desired, false);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Strategy::RollingUpdate { surge, unavailable }
    }
}

/// An int-or-percent of `total`.
pub(super) fn amount(value: &Value, total: i64, round_up: bool) -> i64 {
    let percent =
        value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<i64>().ok());
    match (percent, value.as_i64()) {
        (Some(percent), _) if round_up => (percent * total + 99) / 100,
        (Some(percent), _) => percent * total / 100,
        (None, number) => number.unwrap_or(0),
    }
}

/// One step; `old` is ordered oldest first. Applying the result and waiting for pods leads to the next step.
pub(super) fn decide(strategy: Strategy, desired: i64, new: Replicas, old: &[Replicas]) -> Next {
    match strategy {
        Strategy::Recreate => {
            let gone = old.iter().all(|set| set.existing == 0);
            Next { new: if gone { desired } else { new.wanted.min(desired) }, old: vec![0; old.len()] }
        }
        Strategy::RollingUpdate { surge, unavailable } => {
            let grown = scale_up(desired, surge, new, old);
            // While the new set grows, the old ones wait: their room is judged with the grown set in view.
            Next {
                new: grown,
                old: scale_down(desired - unavailable, Replicas { wanted: grown, ..new }, old),
            }
        }
    }
}

fn scale_up(desired: i64, surge: i64, new: Replicas, old: &[Replicas]) -> i64 {
    if new.wanted >= desired {
        return desired;
    }
    let total: i64 = new.wanted + old.iter().map(|set| set.wanted).sum::<i64>();
    let room = (desired + surge - total).max(0);
    new.wanted + room.min(desired - new.wanted)
}

fn scale_down(min_available: i64, new: Replicas, old: &[Replicas]) -> Vec<i64> {
    let mut next: Vec<i64> = old.iter().map(|set| set.wanted).collect();
    let total: i64 = new.wanted + next.iter().sum::<i64>();
    let mut budget = total - min_available - (new.wanted - new.available);
    // First those that serve nobody.
    for (wanted, set) in next.iter_mut().zip(old) {
        let unhealthy = (*wanted - set.available).clamp(0, budget.max(0));
        *wanted -= unhealthy;
        budget -= unhealthy;
    }
    let available: i64 = new.available + old.iter().map(|set| set.available).sum::<i64>();
    let mut spare = available - min_available;
    for wanted in &mut next {
        let taken = (*wanted).clamp(0, spare.max(0));
        *wanted -= taken;
        spare -= taken;
    }
    next
}

/// What `kubectl rollout status` says: whether the rollout is done, and the sentence.
pub fn progress(kind: &str, object: &Value) -> (bool, String) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let status = |field: &str| object["status"][field].as_i64().unwrap_or(0);
    let desired = object["spec"]["replicas"].as_i64().unwrap_or(1);
    if object["metadata"]["generation"].as_i64() > object["status"]["observedGeneration"].as_i64() {
        return (false, format!("Waiting for {kind} spec update to be observed..."));
    }
    let waiting =
        |rest: String| (false, format!("Waiting for {kind} \"{name}\" rollout to finish: {rest}..."));
    match kind {
        "daemonset" => {
            let desired = status("desiredNumberScheduled");
            let (updated, available) = (status("updatedNumberScheduled"), status("numberAvailable"));
            if updated < desired {
                return waiting(format!("{updated} out of {desired} new pods have been updated"));
            }
            if available < desired {
                return waiting(format!("{available} of {desired} updated pods are available"));
            }
        }
        _ => {
            let (updated, replicas) = (status("updatedReplicas"), status("replicas"));
            let available = status("availableReplicas");
            if updated < desired {
                return waiting(format!("{updated} out of {desired} new replicas have been updated"));
            }
            if replicas > updated {
                return waiting(format!("{} old replicas are pending termination", replicas - updated));
            }
            if available < updated {
                return waiting(format!("{available} of {updated} updated replicas are available"));
            }
        }
    }
    (true, format!("{kind} \"{name}\" successfully rolled out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(wanted: i64, available: i64) -> Replicas {
        Replicas { wanted, existing: wanted, available }
    }

    #[test]
    fn each_step_stays_between_the_surge_and_the_unavailable_bound() {
        let rolling = |surge, unavailable| Strategy::RollingUpdate { surge, unavailable };
        // (strategy, desired, new, old) -> (new, old)
        let rows = [
            (rolling(1, 0), 1, set(0, 0), vec![set(1, 1)], (1, vec![1])),
            (rolling(1, 0), 1, set(1, 0), vec![set(1, 1)], (1, vec![1])),
            (rolling(1, 0), 1, set(1, 1), vec![set(1, 1)], (1, vec![0])),
            (rolling(1, 1), 4, set(0, 0), vec![set(4, 4)], (1, vec![3])),
            (rolling(1, 1), 4, set(1, 0), vec![set(3, 3)], (2, vec![3])),
            (rolling(0, 1), 2, set(0, 0), vec![set(2, 2)], (0, vec![1])),
            (rolling(0, 1), 2, set(0, 0), vec![set(1, 1)], (1, vec![1])),
            (rolling(1, 0), 2, set(0, 0), vec![set(2, 0)], (1, vec![2])),
            (rolling(1, 0), 2, set(2, 2), vec![], (2, vec![])),
            (rolling(1, 0), 1, set(3, 3), vec![], (1, vec![])),
            (rolling(1, 1), 0, set(1, 1), vec![set(1, 1)], (0, vec![0])),
            (Strategy::Recreate, 2, set(0, 0), vec![set(2, 2)], (0, vec![0])),
            (Strategy::Recreate, 2, set(0, 0), vec![set(0, 0)], (2, vec![0])),
        ];
        for (strategy, desired, new, old, (next_new, next_old)) in rows {
            let next = decide(strategy, desired, new, &old);
            assert_eq!(next, Next { new: next_new, old: next_old }, "{strategy:?} {desired} {new:?} {old:?}");
        }
    }

    #[test]
    fn a_rollout_of_any_size_ends_with_the_new_set_alone_and_never_breaks_its_bounds() {
        for desired in 0..8 {
            for (surge, unavailable) in [(1, 0), (0, 1), (2, 1), (3, 3)] {
                let strategy = Strategy::RollingUpdate { surge, unavailable };
                let (mut new, mut old) = (set(0, 0), set(desired, desired));
                for _ in 0..40 {
                    let next = decide(strategy, desired, new, &[old]);
                    // What is asked for exists and is available in the next step.
                    assert!(next.new + next.old[0] <= desired + surge.max(0), "{strategy:?} {next:?}");
                    let serving = new.available.min(next.new) + old.available.min(next.old[0]);
                    assert!(serving >= desired - unavailable, "{strategy:?} {next:?}");
                    (new, old) = (set(next.new, next.new), set(next.old[0], next.old[0]));
                }
                assert_eq!((new.wanted, old.wanted), (desired, 0), "{strategy:?}");
            }
        }
    }

    #[test]
    fn percentages_round_as_kubernetes_rounds_them() {
        let default =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
        let rolling = |surge, unavailable| Strategy::RollingUpdate { surge, unavailable };
        for (desired, expected) in
            [(1, rolling(1, 0)), (3, rolling(1, 0)), (4, rolling(1, 1)), (10, rolling(3, 2))]
        {
            assert_eq!(Strategy::of(&default, desired), expected, "{desired}");
        }
        let none = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}});
        assert_eq!(Strategy::of(&none, 5), rolling(0, 1));
    }
}
