//! Who may do what in the cluster.

use heddle_controlplane::rights;
use serde_json::Value;

use super::files;

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn no_role_grants_everything_of_anything() {
    for document in files::applied() {
        for rule in document.object["rules"].as_array().into_iter().flatten() {
            for field in ["apiGroups", "resources", "verbs"] {
                assert!(!texts(&rule[field]).is_empty(), "{} {rule}", document.file);
                assert!(
                    texts(&rule[field]).iter().all(|text| !text.contains('*')),
                    "{} {rule}",
                    document.file
                );
            }
            assert!(rule["nonResourceURLs"].is_null(), "{} {rule}", document.file);
            for verb in ["escalate", "bind", "impersonate"] {
                assert!(!texts(&rule["verbs"]).contains(&verb), "{} {rule}", document.file);
            }
        }
    }
}

#[test]
fn roles_are_bound_to_the_controller_and_to_nobody_else() {
    for document in files::applied().iter().filter(|document| document.kind().ends_with("Binding")) {
        let subjects = document.object["subjects"].as_array().unwrap();
        assert_eq!(subjects.len(), 1);
        assert_eq!(subjects[0]["kind"], "ServiceAccount");
        assert_eq!(subjects[0]["name"], rights::ACCOUNT);
        assert_eq!(subjects[0]["namespace"], rights::NAMESPACE);
    }
}

/// Rules are put together when they are written; nothing is lost, and nothing comes along.
#[test]
fn what_is_granted_is_what_the_controller_asks_for() {
    let mut granted = Vec::new();
    for document in
        files::applied().iter().filter(|document| ["Role", "ClusterRole"].contains(&document.kind()))
    {
        for rule in document.object["rules"].as_array().unwrap() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        let name = texts(&rule["resourceNames"]).first().copied();
                        granted.push(line(document.namespace(), name, group, resource, verb));
                    }
                }
            }
        }
    }
    let mut asked = Vec::new();
    for right in rights::rights() {
        for verb in right.verbs {
            asked.push(line(right.namespace, right.name, right.group, &right.resource, verb));
        }
    }
    granted.sort();
    granted.dedup();
    asked.sort();
    asked.dedup();
    assert_eq!(granted, asked);
}

fn line(namespace: Option<&str>, name: Option<&str>, group: &str, resource: &str, verb: &str) -> String {
    format!("{verb} {resource}.{group} {}/{}", namespace.unwrap_or("*"), name.unwrap_or("*"))
}

#[test]
fn every_namespace_that_is_named_is_made_and_is_not_in_the_mesh() {
    let applied = files::applied();
    let namespaces: Vec<_> = applied.iter().filter(|document| document.kind() == "Namespace").collect();
    for document in &applied {
        if let Some(namespace) = document.namespace() {
            assert!(
                namespaces.iter().any(|found| found.name() == namespace),
                "{namespace} of {}",
                document.file
            );
        }
    }
    for namespace in namespaces {
        assert_eq!(
            namespace.object["metadata"]["labels"]["heddle.dev/mesh"],
            "disabled",
            "{}",
            namespace.name()
        );
    }
}

#[test]
fn what_is_ours_says_so() {
    for document in files::applied() {
        let labels = &document.object["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/managed-by"], "heddle", "{} {}", document.file, document.name());
        assert_eq!(labels["app.kubernetes.io/part-of"], "heddle", "{} {}", document.file, document.name());
    }
}
