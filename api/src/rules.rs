//! What the API server refuses although the schema allows it: names, required fields, ranges, selectors.
//!
//! Source: Kubernetes `pkg/apis/core/validation` and `pkg/apis/apps/validation`, the rules that people meet.

use crate::diagnostic::{Code, Problem};
use crate::enrolment;
use crate::mesh;
use crate::names;
use crate::object::Object;

mod data;
mod look;
mod pod;
mod service;
mod workload;

#[cfg(test)]
mod tests;

use look::Look;

/// Everything that is wrong with an object beside its schema.
pub(crate) fn check(object: &Object) -> Vec<Problem> {
    let mut problems = Vec::new();
    let root = Look::root(&object.value);
    metadata(object, &root.get("metadata"), &mut problems);
    let spec = root.get("spec");
    match object.kind.kind {
        "Pod" => pod::check(&spec, &mut problems),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
            workload::check(object.kind.kind, &spec, &mut problems);
        }
        "Job" => workload::check_job(&spec, &mut problems),
        "Service" => service::check(&spec, &mut problems),
        "EndpointSlice" => service::check_slice(&root, &mut problems),
        "ConfigMap" => data::check(&root, &["data", "binaryData"], &mut problems),
        "Secret" => data::check(&root, &["data", "stringData"], &mut problems),
        _ => {}
    }
    problems
}

fn metadata(object: &Object, metadata: &Look<'_>, problems: &mut Vec<Problem>) {
    let name = metadata.get("name");
    let (right, grammar): (fn(&str) -> bool, &str) = match object.kind.kind {
        "Namespace" => (names::is_dns_label, names::DNS_LABEL),
        "Service" => (names::is_service_name, names::SERVICE_NAME),
        _ => (names::is_dns_subdomain, names::DNS_SUBDOMAIN),
    };
    match name.text() {
        _ if name.is_other_than_text() => {}
        None | Some("") => problems.push(name.wrong("is required")),
        Some(text) if !right(text) => problems.push(name.wrong(format!("{text:?} is not a name: {grammar}"))),
        Some(_) => {}
    }
    let namespace = metadata.get("namespace");
    if let Some(text) = namespace.text().filter(|text| object.kind.namespaced && !names::is_dns_label(text)) {
        problems.push(namespace.wrong(format!("{text:?} is not a namespace: {}", names::DNS_LABEL)));
    }
    labels(&metadata.get("labels"), problems);
    for annotation in metadata.get("annotations").fields() {
        if !names::is_qualified_name(&annotation.key().to_lowercase()) {
            problems
                .push(annotation.wrong(format!("{:?} is not the key of an annotation", annotation.key())));
        }
    }
}

fn labels(labels: &Look<'_>, problems: &mut Vec<Problem>) {
    for label in labels.fields() {
        names::check_label(labels.path(), label.key(), label.text(), problems);
        mode(&label, problems);
    }
}

/// Our own labels have few values; with another one they count as not there.
fn mode(label: &Look<'_>, problems: &mut Vec<Problem>) {
    let allowed: &[&str] = match label.key() {
        mesh::L7_LABEL => &["auto", "rules", "never"],
        enrolment::MESH => &["enabled", "disabled"],
        _ => return,
    };
    if let Some(text) = label.text().filter(|text| !allowed.contains(text)) {
        let message = format!(
            "{text:?} means nothing here, and the label counts as not there: write {}",
            allowed.join(", ")
        );
        problems.push(Problem::warning(Code::SchemaWarning, label.path(), message));
    }
}
