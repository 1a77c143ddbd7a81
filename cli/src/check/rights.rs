//! What the person may do, as the API server says it itself.

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::Findings;
use super::cluster::HERE;
use crate::cluster::{Cluster, Resource, SYSTEM, Trouble};
use crate::install::{Bundle, resource};

const REVIEWS: Resource<'static> =
    Resource { api_version: "authorization.k8s.io/v1", plural: "selfsubjectaccessreviews" };
const AT_ONCE: usize = 8;
/// What the verbs that read a mesh need beside: verb, group, resource with its part.
const READING: [(&str, &str, &str); 4] =
    [("list", "", "pods"), ("get", "", "pods/exec"), ("create", "", "pods/exec"), ("get", "", "pods/log")];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    verb: &'static str,
    group: String,
    resource: String,
    namespace: Option<String>,
}

/// Asks for each right of `heddle install --apply`, and of reading a mesh.
pub(super) async fn look(cluster: &Cluster, bundle: &Bundle, findings: &mut Findings) {
    let wanted = wanted(bundle);
    let answers = stream::iter(wanted.iter()).map(async |right| (right, may(cluster, right).await));
    let answers: Vec<_> = answers.buffered(AT_ONCE).collect().await;
    let mut denied = Vec::new();
    for (right, answer) in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => denied.push(right.to_string()),
            Err(trouble) => return findings.warn(HERE, "rights", cluster.tell(&trouble).0, ""),
        }
    }
    if denied.is_empty() {
        return findings.ok(
            HERE,
            "rights",
            format!("you may do all {} things that installing and reading need", wanted.len()),
        );
    }
    let fix = "ask an administrator; installing needs cluster-admin or as much";
    findings.fail(HERE, "rights", format!("you may not {}", denied.join(", ")), fix);
}

fn wanted(bundle: &Bundle) -> Vec<Right> {
    let objects = [bundle.crds().unwrap_or_default(), bundle.base().unwrap_or_default()].concat();
    let mut rights: Vec<Right> = Vec::new();
    let mut add = |right: Right| {
        if !rights.contains(&right) {
            rights.push(right);
        }
    };
    for object in &objects {
        let Ok(Resource { api_version, plural }) = resource(object) else { continue };
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        for verb in ["get", "create", "patch"] {
            let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
            add(Right { verb, group: group.to_owned(), resource: plural.to_owned(), namespace });
        }
    }
    for (verb, group, resource) in READING {
        let namespace = Some(SYSTEM.to_owned());
        add(Right { verb, group: group.to_owned(), resource: resource.to_owned(), namespace });
    }
    add(Right { verb: "list", group: String::new(), resource: "nodes".to_owned(), namespace: None });
    rights
}

async fn may(cluster: &Cluster, right: &Right) -> Result<bool, Trouble> {
    let (resource, part) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
    let asked = json!({"verb": right.verb, "group": right.group, "resource": resource, "subresource": part,
        "namespace": right.namespace.as_deref().unwrap_or_default()});
    let review = json!({"apiVersion": REVIEWS.api_version, "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked}});
    let answer: Value = cluster.create(REVIEWS, None, &review).await?;
    Ok(answer["status"]["allowed"] == true)
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{} {}{dot}{}", self.verb, self.resource, self.group)?;
        match &self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}
