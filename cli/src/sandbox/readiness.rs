//! When an object is ready, and what it lacks.
use heddle_sandbox::workloads::progress;
use serde_json::Value;

/// What keeps it from being ready; None: nothing.
pub(super) fn lacks(object: &Value) -> Option<String> {
    let kind = object["kind"].as_str().unwrap_or_default();
    match kind {
        "Pod" => pod(object),
        "Deployment" | "StatefulSet" | "DaemonSet" => {
            let (done, sentence) = progress(&kind.to_lowercase(), object);
            (!done).then_some(sentence)
        }
        "ReplicaSet" => {
            let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
            let ready = object["status"]["readyReplicas"].as_i64().unwrap_or(0);
            (ready < wanted).then(|| format!("{ready} of {wanted} pods are ready"))
        }
        "Job" => unmet(object, "Complete").map(|_| "the job has not completed".to_owned()),
        _ => conditions(object),
    }
}

/// For the other kinds: the first of these conditions that is not met.
fn conditions(object: &Value) -> Option<String> {
    ["Ready", "Accepted", "Programmed"].iter().find_map(|name| match condition(object, name) {
        Some(found) if found["status"] != "True" => {
            Some(format!("{name} is {}: {}", text(&found["status"]), text(&found["message"])))
        }
        _ => None,
    })
}

/// A condition of the object. A route of the Gateway API has those of each parent: of them the first that is not True,
/// so that it is True where all are.
pub(super) fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let status = &object["status"];
    let named = |all: &'a Value| {
        let mut all = all.as_array().into_iter().flatten();
        all.find(|condition| text(&condition["type"]).eq_ignore_ascii_case(name))
    };
    let parents = status["parents"].as_array().into_iter().flatten();
    let found: Vec<&Value> = parents.filter_map(|parent| named(&parent["conditions"])).collect();
    let of_parents = found.iter().find(|condition| condition["status"] != "True").or(found.first());
    named(&status["conditions"]).or(of_parents.copied())
}

/// A condition that is not True.
fn unmet(object: &Value, name: &str) -> Option<()> {
    condition(object, name).is_none_or(|found| found["status"] != "True").then_some(())
}

fn pod(object: &Value) -> Option<String> {
    if object["status"]["phase"] == "Succeeded" {
        return None;
    }
    unmet(object, "Ready")?;
    let status = &object["status"];
    let reason = pod_status(object);
    let statuses = ["initContainerStatuses", "containerStatuses"].into_iter();
    let mut containers = statuses.flat_map(|list| status[list].as_array().into_iter().flatten());
    let waiting = containers.find_map(|container| container["state"]["waiting"]["message"].as_str());
    let scheduling = condition(object, "PodScheduled").filter(|found| found["status"] != "True");
    let detail =
        waiting.or(status["message"].as_str()).or(scheduling.and_then(|found| found["message"].as_str()));
    Some(match detail {
        Some(detail) => format!("{reason}: {detail}"),
        None => reason,
    })
}

/// The STATUS column of `get pods`.
pub(super) fn pod_status(pod: &Value) -> String {
    let status = &pod["status"];
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating".to_owned();
    }
    for (list, prefix) in [("initContainerStatuses", "Init:"), ("containerStatuses", "")] {
        for container in status[list].as_array().into_iter().flatten() {
            let state = &container["state"];
            let reason = state["waiting"]["reason"].as_str().filter(|reason| *reason != "PodInitializing");
            let ended = state["terminated"]["reason"]
                .as_str()
                .filter(|reason| !(prefix == "Init:" && *reason == "Completed"));
            if let Some(reason) = reason.or(ended) {
                return format!("{prefix}{reason}");
            }
        }
    }
    status["reason"].as_str().or(status["phase"].as_str()).unwrap_or("Unknown").to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_says_what_it_waits_for() {
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        let pod =
            json!({"kind": "Pod", "status": {"phase": "Running", "containerStatuses": [{"state": waiting}]}});
        assert_eq!(lacks(&pod).as_deref(), Some("CrashLoopBackOff: back-off 10s"));
    }

    #[test]
    fn a_ready_pod_and_a_succeeded_one_lack_nothing() {
        let ready = json!({"kind": "Pod", "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(lacks(&ready), None);
        assert_eq!(lacks(&json!({"kind": "Pod", "status": {"phase": "Succeeded"}})), None);
    }

    #[test]
    fn an_object_without_conditions_is_ready_and_a_refused_one_is_not() {
        assert_eq!(lacks(&json!({"kind": "Service"})), None);
        let refused = json!({"kind": "Sidecar", "status": {"conditions": [
            {"type": "Accepted", "status": "False", "message": "not served"}]}});
        assert_eq!(lacks(&refused).as_deref(), Some("Accepted is False: not served"));
    }

    #[test]
    fn a_route_is_accepted_when_every_parent_takes_it() {
        let parent = |status: &str| json!({"conditions": [{"type": "Accepted", "status": status}]});
        let route = |parents: &[Value]| json!({"kind": "HTTPRoute", "status": {"parents": parents}});
        let accepted = |route: &Value| condition(route, "accepted").map(|found| found["status"].clone());
        assert_eq!(accepted(&route(&[])), None);
        assert_eq!(accepted(&route(&[parent("True"), parent("True")])), Some(json!("True")));
        assert_eq!(accepted(&route(&[parent("True"), parent("False")])), Some(json!("False")));
    }
}
