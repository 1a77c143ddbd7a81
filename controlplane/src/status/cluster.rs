//! Status in a cluster: server-side apply of the status subresource, where it differs from what is there, at a bounded pace.
//!
//! Lists in a status are one value to the API server (Istio's `conditions`, the Gateway API's `parents`), so whoever writes one
//! writes all of it: what others wrote is read, kept and written again, under the version that was read.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use kube::api::{GetParams, Patch, PatchParams};
use kube::core::Request;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::{Told, body};
use crate::engine::Verdicts;
use crate::registry::ObjectId;
use crate::registry::cluster::{Cluster, Served};

/// As `managedFields` and `controllerName` tell our part from others'.
const MANAGER: &str = "heddle-controller";
/// Between two writes: twenty a second.
const PACE: Duration = Duration::from_millis(50);
/// Writes under way.
const AT_ONCE: usize = 4;
/// How often a write is tried anew because somebody else wrote.
const CONFLICTS: usize = 5;
/// For one write.
const PATIENCE: Duration = Duration::from_secs(30);
/// After a failure, before anything else is written.
const REST: Duration = Duration::from_secs(2);
/// Entries of a route's `parents`, and letters of a condition's `message` (Gateway API v1).
const MOST_PARENTS: usize = 32;
const LONGEST_MESSAGE: usize = 32_768;

/// Writes verdicts until the sender is gone. It never keeps the sender waiting for the API server.
pub async fn run(client: Client, cluster: Cluster, mut verdicts: mpsc::Receiver<Verdicts>) {
    let mut pending: BTreeMap<ObjectId, Told> = BTreeMap::new();
    let mut written: BTreeMap<ObjectId, Told> = BTreeMap::new();
    let mut writes = JoinSet::new();
    let mut tick = tokio::time::interval(PACE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            news = verdicts.recv() => match news {
                Some(news) => take(news, &mut pending, &mut written),
                None => return,
            },
            Some(done) = writes.join_next() => match done {
                Ok((id, told, Ok(()))) => drop(written.insert(id, told)),
                Ok((id, told, Err(message))) => {
                    tracing::warn!(object = %id, message, "status is not written");
                    pending.entry(id).or_insert(told);
                    tick.reset_after(REST);
                }
                Err(error) => tracing::error!(%error, "the writer of a status failed"),
            },
            _ = tick.tick(), if !pending.is_empty() && writes.len() < AT_ONCE => {
                let Some((id, told)) = pending.pop_first() else { continue };
                let Some(served) = cluster.served(&id) else { continue };
                let client = client.clone();
                writes.spawn(async move {
                    let writing = tokio::time::timeout(PATIENCE, write(&client, &served, &id, &told));
                    let done = writing.await.unwrap_or_else(|_| Err("no answer".to_owned()));
                    (id, told, done)
                });
            }
        }
    }
}

/// A new version of an object of which there is nothing new to say is not written to: our own writes make one.
fn take(news: Verdicts, pending: &mut BTreeMap<ObjectId, Told>, written: &mut BTreeMap<ObjectId, Told>) {
    for (id, told) in news.into_iter().filter(|(id, _)| has_status(id)) {
        let Some(mut told) = told else {
            pending.remove(&id);
            written.remove(&id);
            continue;
        };
        told.judged.resource_version = 0;
        if written.get(&id) == Some(&told) {
            pending.remove(&id);
        } else {
            written.remove(&id);
            pending.insert(id, told);
        }
    }
}

/// Kinds of the mesh with a status that is ours to write.
fn has_status(id: &ObjectId) -> bool {
    id.directory.ends_with(".istio.io") || is_route(id)
}

fn is_route(id: &ObjectId) -> bool {
    id.directory.starts_with("httproutes.gateway.") || id.directory.starts_with("grpcroutes.gateway.")
}

async fn write(client: &Client, served: &Served, id: &ObjectId, told: &Told) -> Result<(), String> {
    let requests = Request::new(&*served.path);
    for _ in 0..CONFLICTS {
        let get = requests.get(&id.name, &GetParams::default()).map_err(|error| error.to_string())?;
        let live: Value = match client.request(get).await {
            Ok(live) => live,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let Some(status) = status(id, told, live.get("status"), &now.format(&Rfc3339).unwrap_or_default())
        else {
            return Ok(());
        };
        let mut metadata =
            json!({"name": live["metadata"]["name"], "resourceVersion": live["metadata"]["resourceVersion"]});
        if !id.namespace.is_empty() {
            metadata["namespace"] = (*id.namespace).into();
        }
        let applied = json!({"apiVersion": served.api_version, "kind": served.kind, "metadata": metadata, "status": status});
        let params = PatchParams::apply(MANAGER).force();
        let patch = requests.patch_subresource("status", &id.name, &params, &Patch::Apply(&applied));
        match client.request::<Value>(patch.map_err(|error| error.to_string())?).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("others write to it all the time".to_owned())
}

/// The status to apply, given the one that is there; `None`: it says all that already.
fn status(id: &ObjectId, told: &Told, live: Option<&Value>, now: &str) -> Option<Value> {
    let live = live.unwrap_or(&Value::Null);
    let mut status = body::of(id, told, Some(live), now);
    let fields = status.as_object_mut()?;
    // Where files have no version of their own, their status says it.
    fields.remove("resourceVersion");
    if is_route(id) {
        // A route has no conditions but those of its parents; without a parent of ours nothing is ours to say.
        let ours = fields.remove("parents");
        fields.clear();
        let others = of_others(live, "parents", |entry| entry["controllerName"] == body::CONTROLLER);
        let mut all = others;
        all.extend(ours.and_then(|ours| ours.as_array().cloned()).into_iter().flatten());
        all.truncate(MOST_PARENTS);
        fields.insert("parents".to_owned(), all.into());
    } else {
        let ours = fields.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut all =
            of_others(live, "conditions", |entry| ours.iter().any(|mine| mine["type"] == entry["type"]));
        all.extend(ours);
        fields.insert("conditions".to_owned(), all.into());
    }
    shorten(&mut status);
    let nothing = json!([]);
    let same = ["conditions", "parents", "observedGeneration", "validationMessages"]
        .iter()
        .all(|name| status.get(name).unwrap_or(&nothing) == live.get(name).unwrap_or(&nothing));
    (!same).then_some(status)
}

fn of_others(live: &Value, list: &str, is_ours: impl Fn(&Value) -> bool) -> Vec<Value> {
    let entries = live.get(list).and_then(Value::as_array).into_iter().flatten();
    entries.filter(|entry| !is_ours(entry)).cloned().collect()
}

/// Messages that are longer than the API takes.
fn shorten(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "message" && text.len() > LONGEST_MESSAGE => {
                        let end = (0..=LONGEST_MESSAGE).rev().find(|at| text.is_char_boundary(*at));
                        text.truncate(end.unwrap_or(0));
                    }
                    value => shorten(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::index::route::{Finding, ParentVerdict};
    use crate::registry::{Judged, Verdict};

    fn told(message: &str, parents: Vec<ParentVerdict>) -> Told {
        let verdict = Verdict::Accepted(message.to_owned());
        let judged =
            Judged { resource_version: 1, generation: 2, verdict, findings: vec![], parents: vec![] };
        Told { judged, parents, analysis: vec![] }
    }

    fn id(directory: &str) -> ObjectId {
        ObjectId { directory: directory.into(), namespace: "ns".into(), name: "r".into() }
    }

    #[test]
    fn conditions_of_others_stay_and_nothing_is_written_twice() {
        let id = id("virtualservices.networking.istio.io");
        let live = json!({"conditions": [{"type": "Reconciled", "status": "True"}]});
        let first = status(&id, &told("", vec![]), Some(&live), "then").unwrap();
        let types: Vec<_> =
            first["conditions"].as_array().unwrap().iter().map(|one| one["type"].clone()).collect();
        assert_eq!(types, ["Reconciled", "Accepted"]);
        assert!(first.get("resourceVersion").is_none());
        assert_eq!(status(&id, &told("", vec![]), Some(&first), "now"), None);
        let long = "ä".repeat(40_000);
        let cut = status(&id, &told(&long, vec![]), Some(&first), "now").unwrap();
        assert_eq!(cut["conditions"][1]["message"].as_str().unwrap().len(), LONGEST_MESSAGE);
    }

    #[test]
    fn parents_of_other_controllers_stay() {
        let id = id("httproutes.gateway.networking.k8s.io");
        assert_eq!(status(&id, &told("", vec![]), None, "then"), None, "a route of somebody else's Gateway");
        let theirs = json!({"parentRef": {"name": "g"}, "controllerName": "other.io/c", "conditions": []});
        let old = json!({"parentRef": {"name": "s", "kind": "Service"}, "controllerName": body::CONTROLLER, "conditions": []});
        let live = json!({"parents": [theirs, old]});
        let holds = || Finding { holds: true, reason: "Accepted", message: String::new() };
        let parent = json!({"name": "t", "kind": "Service"});
        let said =
            ParentVerdict { parent: parent.clone(), accepted: holds(), resolved: holds(), partial: None };
        let next = status(&id, &told("", vec![said]), Some(&live), "now").unwrap();
        let parents = next["parents"].as_array().unwrap();
        assert_eq!((parents.len(), &parents[0], &parents[1]["parentRef"]), (2, &theirs, &parent));
        let left = status(&id, &told("", vec![]), Some(&next), "now").unwrap();
        assert_eq!(left, json!({"parents": [theirs]}));
    }
}
