//! The strict reader on types of k8s-openapi and of ours.
#![allow(clippy::unwrap_used)]

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use super::*;

fn found(value: &Value) -> Vec<(String, String)> {
    schema::<Deployment>(value).into_iter().map(|problem| (problem.path, problem.message)).collect()
}

#[test]
fn a_misspelt_field_deep_inside_is_named_with_its_path_and_the_right_name() {
    let value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"template":
        {"spec": {"containers": [{"name": "a", "imagee": "b"}]}}}});
    let found = found(&value);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "spec.template.spec.containers[0].imagee");
    assert!(found[0].1.contains("\"image\""), "{}", found[0].1);
}

#[test]
fn every_wrong_value_and_every_misspelt_field_is_found_in_one_run() {
    let value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "lables": {}},
        "spec": {"replicas": "3", "template": {"metadata": {"labels": {"a": 1}}, "spec": {
            "containers": [{"name": "a", "args": ["x", 1], "ports": [{"containerPort": "80"}, {"containerport": 1}]}],
            "hostNetwork": "yes"}}}});
    let paths: Vec<String> = found(&value).into_iter().map(|(path, _)| path).collect();
    let wanted = [
        "metadata.lables",
        "spec.template.spec.containers[0].ports[1].containerport",
        "spec.replicas",
        "spec.template.metadata.labels.a",
        "spec.template.spec.containers[0].args[1]",
        "spec.template.spec.containers[0].ports[0].containerPort",
        "spec.template.spec.hostNetwork",
    ];
    for path in wanted {
        assert!(paths.iter().any(|found| found == path), "{path} is not in {paths:?}");
    }
    assert_eq!(paths.len(), wanted.len(), "{paths:?}");
}

#[test]
fn a_wrong_type_says_what_was_expected_and_what_to_write() {
    let value = json!({"spec": {"replicas": "3", "template": {"spec": {"containers": {"name": "a"}}}}});
    let found = found(&value);
    assert!(
        found
            .iter()
            .any(|(path, message)| path == "spec.replicas" && message.contains("write 3 without quotes")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|(path, message)| path.ends_with("containers") && message.contains("expected a list")),
        "{found:?}"
    );
}

#[test]
fn a_right_object_has_nothing_wrong_with_it() {
    let value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "creationTimestamp": null},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "a", "image": "b", "resources": {"limits": {"cpu": 1, "memory": "64Mi"}},
        "livenessProbe": {"httpGet": {"port": "http", "path": "/"}}}]}}}});
    assert_eq!(found(&value), []);
}

#[test]
fn a_field_that_is_no_plain_word_is_shown_in_brackets() {
    let value = json!({"metadata": {"labels": {"a.b/c": 1}}});
    assert_eq!(found(&value)[0].0, "metadata.labels[\"a.b/c\"]");
}

#[test]
fn an_object_of_an_unserved_kind_may_have_any_spec_and_nothing_beside_it() {
    let good =
        json!({"apiVersion": "a/v1", "kind": "B", "metadata": {"name": "a"}, "spec": {"whatever": [1]}});
    assert_eq!(metadata_only(&good), []);
    let bad = json!({"apiVersion": "a/v1", "kind": "B", "metadata": {"nam": "a"}, "specc": {}});
    let paths: Vec<String> = metadata_only(&bad).into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["specc", "metadata.nam"]);
}
