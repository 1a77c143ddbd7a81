//! What is in the API server: the controller, what it wrote, accounts and rights, the namespace, definitions.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::say_deleted;
use crate::cluster::{Cluster, PODS, Resource, SYSTEM};
use crate::failure::Failure;
use crate::install::{get, is_ours, name_of, resource, say, text};

const LOOK: Duration = Duration::from_millis(500);
/// The roots, in every namespace.
const ROOTS: &str = "istio-ca-root-cert";

/// Deletes the objects, the last one first; namespaces at the end.
pub(super) async fn delete(cluster: &Cluster, objects: &[Value], within: Duration) -> Result<(), Failure> {
    let is_namespace = |object: &&Value| object["kind"] == "Namespace";
    // The controller first: it would write again what goes after it.
    let controllers = objects.iter().filter(|object| object["kind"] == "Deployment");
    for object in controllers {
        delete_one(cluster, object).await?;
        let deadline = Instant::now() + within;
        let label = format!("app={}", text(&object["metadata"]["name"]));
        let pods = async || cluster.list(PODS, Some(SYSTEM), &label).await;
        while !pods().await.map_err(|trouble| cluster.tell(&trouble))?.is_empty() {
            if Instant::now() >= deadline {
                return Err(Failure(format!("{} still runs after {within:?}", name_of(object))));
            }
            sleep(LOOK).await;
        }
    }
    delete_roots(cluster).await?;
    for object in objects.iter().rev().filter(|object| !is_namespace(object)) {
        delete_one(cluster, object).await?;
    }
    for object in objects.iter().filter(is_namespace) {
        delete_one(cluster, object).await?;
        gone(cluster, object, within).await?;
    }
    Ok(())
}

/// Deletes definitions that are ours, and waits until their objects are gone too.
pub(super) async fn delete_definitions(
    cluster: &Cluster,
    crds: &[Value],
    within: Duration,
) -> Result<(), Failure> {
    for crd in crds {
        delete_one(cluster, crd).await?;
    }
    for crd in crds {
        gone(cluster, crd, within).await?;
    }
    Ok(())
}

/// Those that the controller made; an istiod's stay.
async fn delete_roots(cluster: &Cluster) -> Result<(), Failure> {
    let maps = Resource { api_version: "v1", plural: "configmaps" };
    let label = "app.kubernetes.io/managed-by=heddle";
    let found = cluster.list(maps, None, label).await.map_err(|trouble| cluster.tell(&trouble))?;
    let ours = found.iter().filter(|map| {
        let metadata = &map["metadata"];
        metadata["name"] == ROOTS && is_ours(map) && metadata["labels"]["istio.io/config"] != "true"
    });
    let mut count = 0;
    for map in ours {
        let namespace = map["metadata"]["namespace"].as_str();
        let deleted = cluster.delete(maps, namespace, ROOTS, "Background").await;
        count += u32::from(deleted.map_err(|trouble| cluster.tell(&trouble))?);
    }
    if count > 0 {
        say(&format!("configmap/{ROOTS} deleted in {count} namespaces"));
    }
    Ok(())
}

async fn delete_one(cluster: &Cluster, object: &Value) -> Result<(), Failure> {
    let metadata = &object["metadata"];
    let (namespace, name) = (metadata["namespace"].as_str(), text(&metadata["name"]));
    let deleted = cluster.delete(resource(object)?, namespace, name, "Background").await;
    if deleted.map_err(|trouble| cluster.tell(&trouble))? {
        say_deleted(object);
    }
    Ok(())
}

/// Waits until it is.
async fn gone(cluster: &Cluster, object: &Value, within: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + within;
    while let Some(found) = get(cluster, object).await? {
        if Instant::now() >= deadline {
            let conditions = found["status"]["conditions"].as_array().into_iter().flatten();
            let holding = conditions.filter(|each| each["status"] == "True");
            let why: Vec<&str> = holding.map(|each| text(&each["message"])).collect();
            return Err(Failure(format!(
                "{} is still there after {within:?}: {}",
                name_of(object),
                why.join("; ")
            )));
        }
        sleep(LOOK).await;
    }
    Ok(())
}
