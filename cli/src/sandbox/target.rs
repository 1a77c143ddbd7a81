//! Objects as people write them: `po/x`, `deploy x`, `node/node-1`.
use heddle_api::kind::{self, KindInfo};
use heddle_sandbox::client::Client;
use heddle_sandbox::server::{ApiError, Get, Named};
use heddle_sandbox::store::selector;
use serde_json::Value;

use super::failure;

/// A kind by a word of the command line.
pub(super) fn kind_of(word: &str) -> Result<&'static KindInfo, ApiError> {
    kind::by_word(word).ok_or_else(|| failure(format!("the server doesn't have a resource type \"{word}\"")))
}

pub(super) fn get_one(client: &Client, named: &Named) -> Result<Value, ApiError> {
    let Named { kind, namespace, name } = named.clone();
    let mut found: Vec<Value> = client.call("get", &Get { kind, namespace, name: Some(name) })?;
    found.pop().ok_or_else(|| failure("the daemon answered with nothing"))
}

pub(super) fn list(client: &Client, kind: &str, namespace: Option<&str>) -> Result<Vec<Value>, ApiError> {
    client.call("get", &Get { kind: kind.to_owned(), namespace: namespace.map(str::to_owned), name: None })
}

/// A pod by its own name or by a workload of it (`deploy/NAME`, `svc/NAME`): the first that runs.
pub(super) fn pod(client: &Client, word: &str, namespace: &str) -> Result<Value, ApiError> {
    let (kind, name) = word.split_once('/').unwrap_or(("pod", word));
    let named = Named { kind: kind.to_owned(), namespace: Some(namespace.to_owned()), name: name.to_owned() };
    let object = get_one(client, &named)?;
    if object["kind"] == "Pod" {
        return Ok(object);
    }
    let mut pods = list(client, "pods", Some(namespace))?;
    pods.retain(|pod| belongs(pod, &object));
    pods.sort_by_key(|pod| {
        let ending = !pod["metadata"]["deletionTimestamp"].is_null();
        let waiting = pod["status"]["phase"] != "Running";
        // Of several revisions the newest, as after a rollout.
        let created = pod["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<i64>().ok());
        (ending, waiting, std::cmp::Reverse(pod["metadata"]["creationTimestamp"].to_string()), created)
    });
    let missing = || failure(format!("{word} has no pod"));
    pods.into_iter().next().ok_or_else(missing)
}

/// By its selector, or as its owner: a Job may have no selector.
fn belongs(pod: &Value, object: &Value) -> bool {
    let selector = &object["spec"]["selector"];
    let mut owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    owners.any(|owner| owner["uid"] == object["metadata"]["uid"])
        || (selector.is_object() && selector::matches(selector, &pod["metadata"]["labels"]))
}

/// The container asked for, or the pod's first.
pub(super) fn container(pod: &Value, asked: Option<&str>) -> Result<String, ApiError> {
    let lists = ["containers", "initContainers"].into_iter();
    let names: Vec<&str> = lists
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .filter_map(|container| container["name"].as_str())
        .collect();
    let found = match asked {
        Some(asked) => names.iter().find(|name| **name == asked),
        None => names.first(),
    };
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let missing = || {
        let asked = asked.unwrap_or_default();
        failure(format!("container {asked} is not valid for pod {pod_name}; it has {}", names.join(", ")))
    };
    found.map(|name| (*name).to_owned()).ok_or_else(missing)
}

/// `a=b,c!=d` as a test of an object.
pub(super) fn selected(labels: Option<&str>) -> Result<impl Fn(&Value) -> bool, ApiError> {
    let requirements = selector::parse(labels.unwrap_or_default()).map_err(failure)?;
    Ok(move |object: &Value| {
        requirements.iter().all(|requirement| requirement.holds(&object["metadata"]["labels"]))
    })
}
