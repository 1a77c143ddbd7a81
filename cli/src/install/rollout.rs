//! Waiting until what was applied runs, and saying meanwhile what it waits for.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{get, name_of, say, text};
use crate::cluster::{Cluster, PODS, why_not_running};
use crate::failure::Failure;

const LOOK: Duration = Duration::from_secs(1);

/// Waits for every Deployment and DaemonSet of these.
pub(super) async fn wait(cluster: &Cluster, objects: &[Value], within: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + within;
    let kinds = ["Deployment", "DaemonSet"];
    for object in objects.iter().filter(|object| kinds.contains(&text(&object["kind"]))) {
        let name = name_of(object);
        let mut told = String::new();
        loop {
            let found = get(cluster, object).await?.unwrap_or_default();
            let Err(missing) = state(&found) else { break };
            let pods = waiting(cluster, object).await;
            let line = match pods.as_slice() {
                [] => format!("Waiting for {name}: {missing}"),
                pods => format!("Waiting for {name}: {missing} ({})", pods.join("; ")),
            };
            if Instant::now() >= deadline {
                let namespace = text(&object["metadata"]["namespace"]);
                return Err(Failure(format!(
                    "{name} does not run after {within:?}: {missing}{}{}\nIt goes on by itself; see: kubectl -n {namespace} get pods, heddle check",
                    if pods.is_empty() { "" } else { "; " },
                    pods.join("; ")
                )));
            }
            if line != told {
                say(&line);
                told = line;
            }
            sleep(LOOK).await;
        }
        say(&format!("{name} successfully rolled out"));
    }
    Ok(())
}

/// Whether everything of the newest generation runs; else what is missing.
fn state(found: &Value) -> Result<(), String> {
    let (status, spec) = (&found["status"], &found["spec"]);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    if number(&status["observedGeneration"]) < number(&found["metadata"]["generation"]) {
        return Err("its change is not seen yet".to_owned());
    }
    let (wanted, updated, available) = if found["kind"] == "DaemonSet" {
        let updated = number(&status["updatedNumberScheduled"]);
        (number(&status["desiredNumberScheduled"]), updated, number(&status["numberAvailable"]))
    } else {
        let wanted = spec["replicas"].as_u64().unwrap_or(1);
        (wanted, number(&status["updatedReplicas"]), number(&status["availableReplicas"]))
    };
    match (updated < wanted, available < wanted) {
        (true, _) => Err(format!("{updated} of {wanted} pods are of this version")),
        (false, true) => Err(format!("{available} of {wanted} pods are available")),
        (false, false) => Ok(()),
    }
}

/// Pods of it that cannot start, with their reasons.
async fn waiting(cluster: &Cluster, object: &Value) -> Vec<String> {
    let selector = format!("app={}", text(&object["spec"]["selector"]["matchLabels"]["app"]));
    let pods = cluster.list(PODS, object["metadata"]["namespace"].as_str(), &selector).await;
    let mut reasons: Vec<String> = pods.unwrap_or_default().iter().filter_map(why_not_running).collect();
    reasons.truncate(3);
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rollout_is_done_when_everything_of_this_generation_is_available() {
        let deployment = |observed: u64, updated: u64, available: u64| {
            json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 1},
                "status": {"observedGeneration": observed, "updatedReplicas": updated, "availableReplicas": available}})
        };
        assert_eq!(state(&deployment(2, 1, 1)), Ok(()));
        for (observed, updated, available, missing) in [
            (1, 1, 1, "its change is not seen yet"),
            (2, 0, 1, "0 of 1 pods are of this version"),
            (2, 1, 0, "0 of 1 pods are available"),
        ] {
            assert_eq!(state(&deployment(observed, updated, available)), Err(missing.to_owned()));
        }
        let agents = json!({"kind": "DaemonSet", "metadata": {"generation": 1},
            "status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 1}});
        assert_eq!(state(&agents), Err("1 of 2 pods are available".to_owned()));
        assert!(state(&json!({"kind": "DaemonSet", "metadata": {"generation": 1}})).is_err());
    }
}
