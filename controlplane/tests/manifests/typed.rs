//! Every manifest is what Kubernetes' own types say: what they do not know would be cut off, or refused.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::files;

/// Why it is not of a type of Kubernetes'.
fn check(object: &Value) -> Result<(), String> {
    match (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default()) {
        ("v1", "Namespace") => round_trip::<Namespace>(object),
        ("v1", "Service") => round_trip::<Service>(object),
        ("v1", "ServiceAccount") => round_trip::<ServiceAccount>(object),
        ("apps/v1", "Deployment") => round_trip::<Deployment>(object),
        ("apps/v1", "DaemonSet") => round_trip::<DaemonSet>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => round_trip::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => round_trip::<ClusterRoleBinding>(object),
        ("rbac.authorization.k8s.io/v1", "Role") => round_trip::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => round_trip::<RoleBinding>(object),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => {
            round_trip::<CustomResourceDefinition>(object)
        }
        (version, kind) => Err(format!("{version} {kind} is not expected here")),
    }
}

/// A type reads past what it does not know, and then lacks it.
fn round_trip<T: DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let again = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
    if again == *object { Ok(()) } else { Err(format!("{}\nis read as\n{}", sorted(object), sorted(&again))) }
}

fn sorted(object: &Value) -> String {
    serde_json::to_string_pretty(object).unwrap()
}

#[test]
fn every_manifest_is_of_a_type_of_kubernetes() {
    let documents = files::applied();
    assert!(documents.len() > 20, "{}", documents.len());
    for document in documents {
        check(&document.object).unwrap_or_else(|why| panic!("manifests/{}: {why}", document.file));
    }
}

#[test]
fn a_misspelt_field_is_seen() {
    let documents = files::applied();
    let daemon_set = documents.into_iter().find(|document| document.kind() == "DaemonSet").unwrap();
    let mut object = daemon_set.object;
    check(&object).unwrap();
    object["spec"]["template"]["spec"]["hostPid"] = true.into();
    assert!(check(&object).is_err());
}
