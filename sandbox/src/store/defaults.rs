//! The defaults an API server fills in, as far as anything here or a reader of `get -o json` looks at them.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heddle_api::kind::KindInfo;
use serde_json::{Value, json};

/// Idempotent: filling twice changes nothing.
pub(super) fn fill(object: &mut Value, kind: &KindInfo) {
    match kind.kind {
        "Namespace" => namespace(object),
        "Service" => service(&mut object["spec"]),
        "Secret" => secret(object),
        "Pod" => pod(object),
        "Deployment" => deployment(&mut object["spec"]),
        "ReplicaSet" => replica_set(&mut object["spec"]),
        "StatefulSet" => stateful_set(&mut object["spec"]),
        "DaemonSet" => daemon_set(&mut object["spec"]),
        "Job" => job(&mut object["spec"]),
        _ => {}
    }
}

fn set(value: &mut Value, field: &str, default: Value) {
    if value[field].is_null() {
        value[field] = default;
    }
}

/// The items of a list field, which is not created by looking.
fn items<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    if !object["metadata"]["labels"].is_object() {
        object["metadata"]["labels"] = json!({});
    }
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    set(object, "spec", json!({"finalizers": ["kubernetes"]}));
    set(object, "status", json!({"phase": "Active"}));
}

fn service(spec: &mut Value) {
    set(spec, "type", json!("ClusterIP"));
    set(spec, "sessionAffinity", json!("None"));
    if spec["type"] != "ExternalName" {
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    for port in items(spec, "ports") {
        set(port, "protocol", json!("TCP"));
        let number = port["port"].clone();
        set(port, "targetPort", number);
    }
}

fn secret(object: &mut Value) {
    set(object, "type", json!("Opaque"));
    let Some(Value::Object(plain)) = object.as_object_mut().and_then(|map| map.shift_remove("stringData"))
    else {
        return;
    };
    set(object, "data", json!({}));
    for (name, text) in plain {
        object["data"][name] = json!(STANDARD.encode(text.as_str().unwrap_or_default()));
    }
}

fn pod(object: &mut Value) {
    pod_spec(&mut object["spec"]);
    set(&mut object["spec"], "serviceAccountName", json!("default"));
    set(&mut object["spec"], "enableServiceLinks", json!(true));
    set(object, "status", json!({"phase": "Pending", "qosClass": "BestEffort"}));
}

fn pod_spec(spec: &mut Value) {
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "schedulerName", json!("default-scheduler"));
    set(spec, "securityContext", json!({}));
    for list in ["initContainers", "containers"] {
        for entry in items(spec, list) {
            container(entry);
        }
    }
}

fn container(container: &mut Value) {
    let untagged = container["image"].as_str().is_some_and(|image| {
        let last = image.rsplit('/').next().unwrap_or(image);
        !last.contains(':') && !last.contains('@') || last.ends_with(":latest")
    });
    set(container, "imagePullPolicy", json!(if untagged { "Always" } else { "IfNotPresent" }));
    set(container, "resources", json!({}));
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    for port in items(container, "ports") {
        set(port, "protocol", json!("TCP"));
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = container.get_mut(name) {
            probe(found);
        }
    }
    for hook in ["/lifecycle/postStart/httpGet", "/lifecycle/preStop/httpGet"] {
        if let Some(action) = container.pointer_mut(hook) {
            http_get(action);
        }
    }
}

fn probe(probe: &mut Value) {
    for (field, default) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        set(probe, field, json!(default));
    }
    if let Some(action) = probe.get_mut("httpGet") {
        http_get(action);
    }
}

fn http_get(action: &mut Value) {
    set(action, "scheme", json!("HTTP"));
    set(action, "path", json!("/"));
}

fn template(spec: &mut Value) {
    if !spec["template"]["metadata"].is_object() {
        spec["template"]["metadata"] = json!({});
    }
    pod_spec(&mut spec["template"]["spec"]);
}

fn deployment(spec: &mut Value) {
    set(spec, "replicas", json!(1));
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "progressDeadlineSeconds", json!(600));
    set(spec, "strategy", json!({}));
    set(&mut spec["strategy"], "type", json!("RollingUpdate"));
    if spec["strategy"]["type"] == "RollingUpdate" {
        set(&mut spec["strategy"], "rollingUpdate", json!({}));
        set(&mut spec["strategy"]["rollingUpdate"], "maxUnavailable", json!("25%"));
        set(&mut spec["strategy"]["rollingUpdate"], "maxSurge", json!("25%"));
    }
    template(spec);
}

fn replica_set(spec: &mut Value) {
    set(spec, "replicas", json!(1));
    template(spec);
}

fn stateful_set(spec: &mut Value) {
    set(spec, "replicas", json!(1));
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "podManagementPolicy", json!("OrderedReady"));
    set(spec, "updateStrategy", json!({"type": "RollingUpdate"}));
    template(spec);
}

fn daemon_set(spec: &mut Value) {
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "updateStrategy", json!({"type": "RollingUpdate"}));
    template(spec);
}

fn job(spec: &mut Value) {
    set(spec, "parallelism", json!(1));
    set(spec, "completions", json!(1));
    set(spec, "backoffLimit", json!(6));
    set(spec, "completionMode", json!("NonIndexed"));
    set(spec, "suspend", json!(false));
    template(spec);
}
