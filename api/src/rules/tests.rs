//! The rules of the API server, one row a rule.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use crate::manifest;

/// Paths of the errors in one object.
fn errors(value: &Value) -> Vec<String> {
    let parsed = manifest::parse("f", &value.to_string());
    parsed.diagnostics.into_iter().filter(|found| found.is_error()).map(|found| found.path).collect()
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"app": "a"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "a", "image": "b", "ports": [{"name": "http", "containerPort": 80}],
                    "env": [{"name": "X", "value": "1"}], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                    "readinessProbe": {"tcpSocket": {"port": "http"}}}]}}}})
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
        "spec": {"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": "http"}]}})
}

/// Sets what stands at a pointer, and says which paths are wrong then.
fn with(mut object: Value, pointer: &str, value: Value) -> Vec<String> {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
    errors(&object)
}

#[test]
fn right_objects_have_no_errors() {
    assert_eq!(errors(&deployment()), [] as [&str; 0]);
    assert_eq!(errors(&service()), [] as [&str; 0]);
}

#[test]
fn each_rule_of_a_workload_names_its_path() {
    let container = "/spec/template/spec/containers/0";
    let at = |rest: &str| format!("spec.template.spec.containers[0].{rest}");
    let rows = [
        ("/metadata/name".to_owned(), json!("A"), "metadata.name".to_owned()),
        ("/metadata/name".to_owned(), json!(""), "metadata.name".to_owned()),
        ("/metadata/namespace".to_owned(), json!("a.b"), "metadata.namespace".to_owned()),
        ("/metadata/labels".to_owned(), json!({"a b": "c"}), "metadata.labels[\"a b\"]".to_owned()),
        ("/metadata/labels".to_owned(), json!({"a": "-"}), "metadata.labels.a".to_owned()),
        ("/spec/replicas".to_owned(), json!(-1), "spec.replicas".to_owned()),
        ("/spec/selector".to_owned(), json!({}), "spec.selector.matchLabels".to_owned()),
        (
            "/spec/selector/matchLabels".to_owned(),
            json!({"app": "b"}),
            "spec.selector.matchLabels.app".to_owned(),
        ),
        (
            "/spec/selector/matchExpressions".to_owned(),
            json!([{"key": "app", "operator": "NotIn", "values": ["a"]}]),
            "spec.selector.matchExpressions[0]".to_owned(),
        ),
        ("/spec/template/spec/containers".to_owned(), json!([]), "spec.template.spec.containers".to_owned()),
        (
            "/spec/template/spec/restartPolicy".to_owned(),
            json!("Never"),
            "spec.template.spec.restartPolicy".to_owned(),
        ),
        (format!("{container}/name"), json!("A_b"), at("name")),
        (format!("{container}/image"), json!(""), at("image")),
        (format!("{container}/imagePullPolicy"), json!("always"), at("imagePullPolicy")),
        (format!("{container}/ports"), json!([{"containerPort": 0}]), at("ports[0].containerPort")),
        (format!("{container}/ports"), json!([{"containerPort": 65536}]), at("ports[0].containerPort")),
        (format!("{container}/ports"), json!([{"name": "x"}]), at("ports[0].containerPort")),
        (
            format!("{container}/ports"),
            json!([{"containerPort": 1, "protocol": "tcp"}]),
            at("ports[0].protocol"),
        ),
        (format!("{container}/env"), json!([{"value": "x"}]), at("env[0].name")),
        (
            format!("{container}/volumeMounts"),
            json!([{"name": "w", "mountPath": "/w"}]),
            at("volumeMounts[0].name"),
        ),
        (format!("{container}/readinessProbe"), json!({"periodSeconds": 1}), at("readinessProbe")),
        (
            format!("{container}/readinessProbe"),
            json!({"httpGet": {"port": "80"}}),
            at("readinessProbe.httpGet.port"),
        ),
        ("/spec/strategy".to_owned(), json!({"type": "Rolling"}), "spec.strategy.type".to_owned()),
    ];
    for (pointer, value, path) in rows {
        assert_eq!(with(deployment(), &pointer, value.clone()), [path], "{pointer} = {value}");
    }
}

#[test]
fn each_rule_of_a_service_names_its_path() {
    let rows = [
        ("/metadata/name", json!("1a"), "metadata.name"),
        ("/spec/type", json!("clusterip"), "spec.type"),
        ("/spec/ports", json!([]), "spec.ports"),
        ("/spec/ports", json!([{"port": 0}]), "spec.ports[0].port"),
        ("/spec/ports", json!([{"port": 80, "targetPort": "80"}]), "spec.ports[0].targetPort"),
        ("/spec/ports", json!([{"port": 80, "targetPort": 70000}]), "spec.ports[0].targetPort"),
        ("/spec/ports", json!([{"port": 80, "name": "a"}, {"port": 81}]), "spec.ports[1].name"),
        ("/spec/ports", json!([{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]), "spec.ports[1].port"),
        ("/spec/ports", json!([{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]), "spec.ports[1].name"),
        ("/spec/clusterIP", json!("10.96.0"), "spec.clusterIP"),
    ];
    for (pointer, value, path) in rows {
        assert_eq!(with(service(), pointer, value.clone()), [path], "{pointer} = {value}");
    }
    let headless = json!({"clusterIP": "None", "selector": {"app": "a"}});
    assert_eq!(with(service(), "/spec", headless), [] as [&str; 0]);
}

#[test]
fn a_job_names_how_its_pods_end() {
    let job = |policy: Value| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": {"spec":
            {"restartPolicy": policy, "containers": [{"name": "a", "image": "b"}]}}}})
    };
    assert_eq!(errors(&job(json!("Never"))), [] as [&str; 0]);
    assert_eq!(errors(&job(Value::Null)), ["spec.template.spec.restartPolicy"]);
}

#[test]
fn keys_of_a_configmap_are_file_names() {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a/b": "", "ok.txt": ""}});
    assert_eq!(errors(&map), ["data[\"a/b\"]"]);
}

#[test]
fn addresses_of_a_slice_are_of_its_family() {
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a"},
        "addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}, {"addresses": ["10.0.0.1"]}]});
    assert_eq!(errors(&slice), ["endpoints[1].addresses[0]"]);
}

#[test]
fn our_labels_have_few_values() {
    let object = |value: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: a, labels: {{heddle.dev/l7: {value}}}}}\n"
        );
        manifest::parse("f", &text).diagnostics
    };
    for value in ["auto", "rules", "never"] {
        assert_eq!(object(value), []);
    }
    let found = object("allways");
    assert_eq!((found[0].code.text(), found[0].is_error()), ("IST0133", false));
    assert!(found[0].message.contains("auto, rules, never"), "{found:?}");
}
