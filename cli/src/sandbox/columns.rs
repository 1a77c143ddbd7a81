//! The columns that kubectl shows for each kind.
use std::time::{SystemTime, UNIX_EPOCH};

use heddle_api::kind::KindInfo;
use serde_json::Value;

use super::readiness;
use crate::output::Table;

/// How the table is asked for.
pub(super) struct Shape {
    pub(super) wide: bool,
    pub(super) with_namespace: bool,
    /// Put before names when several kinds are shown.
    pub(super) prefix: Option<String>,
}

type Cell = fn(&Value) -> String;

pub(super) fn table(kind: &KindInfo, objects: &[Value], shape: &Shape) -> Table {
    let (columns, wide) = columns_of(kind);
    let mut all: Vec<(&str, Cell)> = columns.to_vec();
    all.push(("AGE", age));
    if shape.wide {
        all.extend_from_slice(wide);
    }
    let header = shape.with_namespace.then_some("NAMESPACE").into_iter().chain(["NAME"]);
    let mut table = Table::new(header.chain(all.iter().map(|(name, _)| *name)));
    for object in objects {
        let mut cells = Vec::new();
        if shape.with_namespace {
            cells.push(text(&object["metadata"]["namespace"]));
        }
        let name = text(&object["metadata"]["name"]);
        cells.push(shape.prefix.as_ref().map_or(name.clone(), |prefix| format!("{prefix}/{name}")));
        cells.extend(all.iter().map(|(_, cell)| cell(object)));
        table.row(cells);
    }
    table
}

/// Columns by heading.
type Columns = &'static [(&'static str, Cell)];

/// Those of every table, and those of `-o wide`.
fn columns_of(kind: &KindInfo) -> (Columns, Columns) {
    match kind.kind {
        "Pod" => (
            &[("READY", pod_ready), ("STATUS", readiness::pod_status), ("RESTARTS", restarts)],
            &[("IP", |pod| text(&pod["status"]["podIP"])), ("NODE", |pod| text(&pod["spec"]["nodeName"]))],
        ),
        "Deployment" => (
            &[
                ("READY", ready_of_replicas),
                ("UP-TO-DATE", |object| number(&object["status"]["updatedReplicas"])),
                ("AVAILABLE", |object| number(&object["status"]["availableReplicas"])),
            ],
            &[("CONTAINERS", containers), ("IMAGES", images), ("SELECTOR", selector)],
        ),
        "StatefulSet" => (&[("READY", ready_of_replicas)], &[("CONTAINERS", containers), ("IMAGES", images)]),
        "ReplicaSet" => (
            &[
                ("DESIRED", |object| number(&object["spec"]["replicas"])),
                ("CURRENT", |object| number(&object["status"]["replicas"])),
                ("READY", |object| number(&object["status"]["readyReplicas"])),
            ],
            &[("CONTAINERS", containers), ("IMAGES", images), ("SELECTOR", selector)],
        ),
        "DaemonSet" => (
            &[
                ("DESIRED", |object| number(&object["status"]["desiredNumberScheduled"])),
                ("CURRENT", |object| number(&object["status"]["currentNumberScheduled"])),
                ("READY", |object| number(&object["status"]["numberReady"])),
            ],
            &[("CONTAINERS", containers), ("IMAGES", images)],
        ),
        "Job" => (&[("STATUS", job_status), ("COMPLETIONS", completions)], &[("CONTAINERS", containers)]),
        "Service" => (
            &[
                ("TYPE", |object| text(&object["spec"]["type"])),
                ("CLUSTER-IP", |object| text(&object["spec"]["clusterIP"])),
                ("PORT(S)", service_ports),
            ],
            &[("SELECTOR", |object| pairs(&object["spec"]["selector"]))],
        ),
        "Namespace" => (&[("STATUS", |object| text(&object["status"]["phase"]))], &[]),
        "Node" => (
            &[("STATUS", |_| "Ready".to_owned())],
            &[("INTERNAL-IP", |object| text(&object["status"]["addresses"][0]["address"]))],
        ),
        "ConfigMap" | "Secret" => (&[("DATA", |object| length(&object["data"]))], &[]),
        "EndpointSlice" => (
            &[
                ("ADDRESSTYPE", |object| text(&object["addressType"])),
                ("PORTS", |object| joined(&object["ports"], |port| number(&port["port"]))),
                ("ENDPOINTS", |object| {
                    joined(&object["endpoints"], |endpoint| text(&endpoint["addresses"][0]))
                }),
            ],
            &[],
        ),
        _ if kind.group.contains("istio.io") || kind.group.contains("gateway.networking") => {
            (&[("ACCEPTED", accepted)], &[])
        }
        _ => (&[], &[]),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("<none>").to_owned()
}

fn number(value: &Value) -> String {
    value.as_i64().unwrap_or(0).to_string()
}

fn length(value: &Value) -> String {
    value.as_object().map_or(0, serde_json::Map::len).to_string()
}

fn joined(list: &Value, show: impl Fn(&Value) -> String) -> String {
    let parts: Vec<String> = list.as_array().into_iter().flatten().map(show).collect();
    if parts.is_empty() { "<unset>".to_owned() } else { parts.join(",") }
}

fn pairs(map: &Value) -> String {
    let parts: Vec<String> =
        map.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    if parts.is_empty() { "<none>".to_owned() } else { parts.join(",") }
}

fn pod_ready(pod: &Value) -> String {
    let all = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let ready = statuses.filter(|status| status["ready"] == true).count();
    format!("{ready}/{all}")
}

fn restarts(pod: &Value) -> String {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    statuses.map(|status| status["restartCount"].as_i64().unwrap_or(0)).sum::<i64>().to_string()
}

fn ready_of_replicas(object: &Value) -> String {
    format!("{}/{}", number(&object["status"]["readyReplicas"]), number(&object["spec"]["replicas"]))
}

fn containers(object: &Value) -> String {
    joined(&object["spec"]["template"]["spec"]["containers"], |container| text(&container["name"]))
}

fn images(object: &Value) -> String {
    joined(&object["spec"]["template"]["spec"]["containers"], |container| text(&container["image"]))
}

fn selector(object: &Value) -> String {
    pairs(&object["spec"]["selector"]["matchLabels"])
}

fn completions(job: &Value) -> String {
    format!("{}/{}", number(&job["status"]["succeeded"]), number(&job["spec"]["completions"]))
}

fn job_status(job: &Value) -> String {
    let is = |name: &str| readiness::condition(job, name).is_some_and(|found| found["status"] == "True");
    (if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else {
        "Running"
    })
    .to_owned()
}

fn service_ports(service: &Value) -> String {
    joined(&service["spec"]["ports"], |port| format!("{}/{}", number(&port["port"]), text(&port["protocol"])))
}

fn accepted(object: &Value) -> String {
    let Some(found) = readiness::condition(object, "Accepted") else { return "Unknown".to_owned() };
    let reason = found["reason"].as_str().filter(|_| found["status"] != "True");
    reason.map_or_else(|| text(&found["status"]), |reason| format!("{} ({reason})", text(&found["status"])))
}

fn age(object: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let created = heddle_sandbox::store::seconds(&object["metadata"]["creationTimestamp"]);
    created.map_or_else(|| "<unknown>".to_owned(), |at| span(now.saturating_sub(at)))
}

/// As kubectl shortens it: 45s, 3m20s, 14m, 5h, 3d.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if !seconds.is_multiple_of(60) => format!("{}m{}s", seconds / 60, seconds % 60),
        120..10_800 => format!("{}m", seconds / 60),
        10_800..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in
            [(5, "5s"), (119, "119s"), (200, "3m20s"), (600, "10m"), (20_000, "5h"), (200_000, "2d")]
        {
            assert_eq!(span(seconds), expected);
        }
    }
}
