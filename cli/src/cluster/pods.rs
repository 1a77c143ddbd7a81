//! What pods and nodes say of themselves, in a line.

use serde_json::Value;

/// Whether a container of this name runs.
pub(crate) fn is_running(pod: &Value, container: &str) -> bool {
    state(pod, container).is_some_and(|state| state["running"].is_object())
}

/// Whether it is ready.
pub(crate) fn is_ready(object: &Value) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|each| each["type"] == "Ready" && each["status"] == "True")
}

/// Whether a node is one that agents run on.
pub(crate) fn is_linux(node: &Value) -> bool {
    node["metadata"]["labels"]["kubernetes.io/os"].as_str().is_none_or(|system| system == "linux")
}

/// Of a kernel: `6.12.9-amd64`.
pub(crate) fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// `pod heddle-agent-x: ErrImagePull: not found …`, of the first container that waits for what may not come.
pub(crate) fn why_not_running(pod: &Value) -> Option<String> {
    let failing = containers(pod).find(|status| {
        let waits = &status["state"]["waiting"];
        waits.is_object() && !["ContainerCreating", "PodInitializing"].contains(&text(&waits["reason"]))
    });
    match failing {
        Some(status) => Some(reason(pod, text(&status["name"]))),
        None => {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let mut conditions = conditions.into_iter();
            let scheduled =
                conditions.find(|each| each["type"] == "PodScheduled" && each["status"] == "False")?;
            Some(line(pod, text(&scheduled["reason"]), text(&scheduled["message"])))
        }
    }
}

/// Why a container does not run.
pub(crate) fn reason(pod: &Value, container: &str) -> String {
    let state = state(pod, container).and_then(|state| {
        ["waiting", "terminated"].iter().map(|kind| &state[*kind]).find(|state| state.is_object())
    });
    if let Some(state) = state {
        return line(pod, text(&state["reason"]), text(&state["message"]));
    }
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    match conditions.into_iter().find(|each| each["status"] == "False") {
        Some(failing) => line(pod, text(&failing["reason"]), text(&failing["message"])),
        None => line(pod, text(&pod["status"]["phase"]), ""),
    }
}

fn line(pod: &Value, reason: &str, message: &str) -> String {
    let name = format!("pod {}", text(&pod["metadata"]["name"]));
    let parts = [name.as_str(), reason, message.trim()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

fn state<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    containers(pod).find(|status| status["name"] == container).map(|status| &status["state"])
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|list| &pod["status"][list]);
    lists.into_iter().filter_map(Value::as_array).flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
