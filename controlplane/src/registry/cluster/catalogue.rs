//! Which of the watched kinds the server has, and in which version: asked until all are there, and now and then after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use kube::Client;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::News;
use super::pace::Pace;
use super::watched::Watched;

/// By group and plural: the version in which a kind is served, or that it is not, perhaps with a reason that somebody should
/// know. A kind that is not in it is not decided.
pub(super) type Catalogue = BTreeMap<(&'static str, &'static str), Result<&'static str, Option<String>>>;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A server that has just started may not know its own CustomResourceDefinitions yet: what is not there is looked for so often
/// before that counts.
const LOOKS: u32 = 3;

/// Looks for kinds.
pub(super) struct Discovery {
    pub(super) client: Client,
    pub(super) watched: Arc<Vec<Watched>>,
    pub(super) pace: Pace,
    pub(super) news: mpsc::Sender<News>,
}

impl Discovery {
    /// Publishes what there is, each time that it changes.
    pub(super) async fn run(self, found: watch::Sender<Catalogue>) {
        let mut absent: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        let mut failed = false;
        loop {
            let looked = look(&self.client, &self.watched).await;
            match looked {
                Ok(now) => {
                    let was = std::mem::take(&mut failed);
                    if was && self.news.send(News::Discovery(None)).await.is_err() {
                        return;
                    }
                    self.publish(now, &mut absent, &found);
                }
                Err(message) => {
                    failed = true;
                    if self.news.send(News::Discovery(Some(message))).await.is_err() {
                        return;
                    }
                }
            }
            let unsure = failed || absent.values().any(|looks| *looks < LOOKS);
            let every = if unsure { self.pace.confirm } else { self.pace.discovery };
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = self.news.closed() => return,
            }
        }
    }

    fn publish(
        &self,
        mut now: Catalogue,
        absent: &mut BTreeMap<(&'static str, &'static str), u32>,
        found: &watch::Sender<Catalogue>,
    ) {
        found.send_if_modified(|held| {
            for kind in self.watched.iter().map(|watched| watched.kind) {
                let key = (kind.group, kind.plural);
                if now.contains_key(&key) {
                    absent.remove(&key);
                    continue;
                }
                let looks = absent.entry(key).or_default();
                *looks = looks.saturating_add(1);
                match held.get(&key) {
                    _ if *looks >= LOOKS => drop(now.insert(key, Err(None))),
                    Some(before) => drop(now.insert(key, before.clone())),
                    None => {}
                }
            }
            let changed = *held != now;
            *held = now;
            changed
        });
    }
}

async fn look(client: &Client, watched: &[Watched]) -> Result<Catalogue, String> {
    let mut groups: Vec<&'static str> = watched.iter().map(|watched| watched.kind.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let mut all = Catalogue::new();
    for group in groups {
        let served = versions(client, group).await?;
        let mut plurals: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for version in &served {
            for plural in plurals_of(client, group, version).await? {
                plurals.entry(plural).or_default().push(version.clone());
            }
        }
        for kind in watched.iter().map(|watched| watched.kind).filter(|kind| kind.group == group) {
            let Some(there) = plurals.get(kind.plural) else { continue };
            let ours = kind.versions.iter().find(|known| there.iter().any(|version| version == *known));
            let version = ours.copied().ok_or_else(|| {
                let known = kind.versions.join(", ");
                Some(format!("is served as {} only; this release reads {known}", there.join(", ")))
            });
            all.insert((group, kind.plural), version);
        }
    }
    Ok(all)
}

async fn versions(client: &Client, group: &str) -> Result<Vec<String>, String> {
    if group.is_empty() {
        return Ok(vec!["v1".to_owned()]);
    }
    let found = get(client, &format!("/apis/{group}")).await?;
    let versions = found["versions"].as_array().into_iter().flatten();
    Ok(versions.filter_map(|version| version["version"].as_str().map(str::to_owned)).collect())
}

async fn plurals_of(client: &Client, group: &str, version: &str) -> Result<Vec<String>, String> {
    let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let found = get(client, &path).await?;
    let resources = found["resources"].as_array().into_iter().flatten();
    Ok(resources.filter_map(|resource| resource["name"].as_str().map(str::to_owned)).collect())
}

/// What is not there is nothing.
async fn get(client: &Client, path: &str) -> Result<Value, String> {
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    match tokio::time::timeout(PATIENCE, client.request::<Value>(request)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(Value::Null),
        Ok(Err(error)) => Err(format!("{path}: {error}")),
        Err(_) => Err(format!("{path}: no answer")),
    }
}
