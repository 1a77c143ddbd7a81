//! CustomResourceDefinitions: ours where nobody else's are.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{get, name_of, put, say, text};
use crate::cluster::Cluster;
use crate::failure::Failure;

/// For the API server to serve a kind.
const ESTABLISHED: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

/// Applies those that are absent or ours, and waits until the API server serves them.
pub(super) async fn apply(cluster: &Cluster, crds: &[Value], force: bool) -> Result<(), Failure> {
    let mut ours = Vec::new();
    for crd in crds {
        let name = name_of(crd);
        match get(cluster, crd).await? {
            Some(theirs) if !is_ours(&theirs) => {
                say(&format!("{name} unchanged: using the CRD that is installed"));
                let lacking = lacking(crd, &theirs);
                if !lacking.is_empty() {
                    eprintln!(
                        "heddle: warning: {name} serves {} and not {}: objects written in the latter are refused until whoever installed it upgrades it",
                        served(&theirs).join(", "),
                        lacking.join(", ")
                    );
                }
            }
            _ => {
                let done = put(cluster, crd, force).await?;
                say(&format!("{name} {}", done.word()));
                ours.push(crd);
            }
        }
    }
    for crd in ours {
        established(cluster, crd).await?;
    }
    Ok(())
}

/// Made by `heddle install`, or by `kubectl apply -k manifests`.
pub(crate) fn is_ours(object: &Value) -> bool {
    object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "heddle"
}

async fn established(cluster: &Cluster, crd: &Value) -> Result<(), Failure> {
    let deadline = Instant::now() + ESTABLISHED;
    loop {
        let found = get(cluster, crd).await?.unwrap_or_default();
        let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let condition = |kind: &str, status: &str| {
            conditions.iter().find(|each| each["type"] == kind && each["status"] == status)
        };
        if condition("Established", "True").is_some() {
            return Ok(());
        }
        if let Some(refused) = condition("NamesAccepted", "False") {
            return Err(Failure(format!("{}: {}", name_of(crd), text(&refused["message"]))));
        }
        if Instant::now() >= deadline {
            return Err(Failure(format!("{} is not served after {ESTABLISHED:?}", name_of(crd))));
        }
        sleep(LOOK).await;
    }
}

/// Versions that a definition serves.
pub(crate) fn served(crd: &Value) -> Vec<String> {
    let versions = crd["spec"]["versions"].as_array().into_iter().flatten();
    versions.filter(|each| each["served"] == true).map(|each| text(&each["name"]).to_owned()).collect()
}

/// Versions of ours that theirs does not serve.
fn lacking(ours: &Value, theirs: &Value) -> Vec<String> {
    let theirs = served(theirs);
    served(ours).into_iter().filter(|version| !theirs.contains(version)).collect()
}
