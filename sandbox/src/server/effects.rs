//! Valid Kubernetes fields that change nothing here: said once, not in silence.
use heddle_api::object::Object;
use serde_json::Value;

use super::apply::pod_spec;

const OF_PODS: &[&str] = &[
    "affinity",
    "tolerations",
    "topologySpreadConstraints",
    "priorityClassName",
    "runtimeClassName",
    "hostPID",
    "hostIPC",
    "shareProcessNamespace",
    "imagePullSecrets",
    "ephemeralContainers",
    "overhead",
];
const OF_CONTAINERS: &[&str] = &["resources", "stdin", "tty", "volumeDevices", "resizePolicy"];
const OF_SECURITY: &[&str] = &[
    "capabilities",
    "privileged",
    "readOnlyRootFilesystem",
    "seccompProfile",
    "appArmorProfile",
    "seLinuxOptions",
    "procMount",
];
const OF_SERVICES: &[&str] = &[
    "externalIPs",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "sessionAffinityConfig",
];

/// One sentence a field.
pub(super) fn without_effect(object: &Object) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(spec) = pod_spec(object) {
        note(&mut found, "pod", spec, OF_PODS);
        for list in ["initContainers", "containers"] {
            for container in spec[list].as_array().into_iter().flatten() {
                note(&mut found, "container", container, OF_CONTAINERS);
                note(&mut found, "container securityContext", &container["securityContext"], OF_SECURITY);
            }
        }
    }
    if object.kind.kind == "Service" {
        note(&mut found, "Service", &object.value["spec"], OF_SERVICES);
        if matches!(object.value["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
            found.push("Service field type: only the ClusterIP is served here".to_owned());
        }
    }
    if object.kind.kind == "StatefulSet" && !object.value["spec"]["volumeClaimTemplates"].is_null() {
        found.push("volumeClaimTemplates: each claim is an empty directory of the pod here".to_owned());
    }
    found
}

fn note(found: &mut Vec<String>, of: &str, spec: &Value, fields: &[&str]) {
    for field in fields {
        let empty = match &spec[*field] {
            Value::Null | Value::Bool(false) => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        let sentence = format!("{of} field {field} has no effect in the sandbox");
        if !empty && !found.contains(&sentence) {
            found.push(sentence);
        }
    }
}
