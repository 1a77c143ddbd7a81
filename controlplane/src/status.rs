//! Writes what became of objects: one small file an object, in the shape of Kubernetes' conditions.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use crate::engine::Verdicts;
use crate::registry::{Judged, ObjectId, Verdict};

/// Writes verdicts until the sender is gone. The first ones are of everything that there is: what else the
/// directory holds is left from before.
pub async fn run(directory: Option<PathBuf>, mut verdicts: mpsc::Receiver<Verdicts>) {
    let mut first = true;
    while let Some(news) = verdicts.recv().await {
        let Some(directory) = directory.clone() else { continue };
        let sweep = std::mem::take(&mut first);
        let write = move || {
            if sweep {
                remove_others(&directory, &news);
            }
            for (id, judged) in news {
                let path = path(&directory, &id);
                let done = match judged.filter(|judged| worth_telling(&id, judged)) {
                    Some(judged) => write(&path, &judged),
                    None => remove(&path),
                };
                if let Err(error) = done {
                    tracing::warn!(file = %path.display(), %error, "status cannot be written");
                }
            }
        };
        if tokio::task::spawn_blocking(write).await.is_err() {
            tracing::error!("the writer of status failed");
        }
    }
}

fn remove_others(directory: &Path, news: &Verdicts) {
    let kept: HashSet<PathBuf> = news.iter().map(|(id, _)| path(directory, id)).collect();
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    for namespace in below(directory).iter().flat_map(|kind| below(kind)) {
        for file in below(&namespace).into_iter().filter(|file| !kept.contains(file)) {
            if let Err(error) = remove(&file) {
                tracing::warn!(file = %file.display(), %error, "old status cannot be removed");
            }
        }
    }
}

/// Kinds of Kubernetes itself have a status of their own; ours is told only where they are wrong.
fn worth_telling(id: &ObjectId, judged: &Judged) -> bool {
    let mesh_api =
        id.directory.ends_with(".istio.io") || id.directory.ends_with(".gateway.networking.k8s.io");
    mesh_api || !matches!(judged.verdict, Verdict::Accepted(_))
}

fn path(directory: &Path, id: &ObjectId) -> PathBuf {
    let namespace = if id.namespace.is_empty() { "_" } else { &*id.namespace };
    directory.join(&*id.directory).join(namespace).join(format!("{}.json", id.name))
}

fn write(path: &Path, judged: &Judged) -> io::Result<()> {
    let (status, reason, message) = match &judged.verdict {
        Verdict::Accepted(message) => ("True", "Accepted", message),
        Verdict::Unsupported(message) => ("False", "Unsupported", message),
        Verdict::Invalid(message) => ("False", "Invalid", message),
    };
    let body = json!({
        "resourceVersion": judged.resource_version.to_string(),
        "conditions": [{
            "type": "Accepted",
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": judged.generation,
            "lastTransitionTime": since(path, status),
        }],
    });
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let temporary = path.with_file_name(format!(".{name}"));
    fs::write(&temporary, body.to_string())?;
    fs::rename(&temporary, path)
}

/// When the condition became what it is: as it was, unless its status changes now.
fn since(path: &Path, status: &str) -> String {
    let before: Option<Value> = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let condition = before.as_ref().and_then(|before| before.pointer("/conditions/0"));
    let same = condition.filter(|condition| condition["status"] == status);
    let time = same.and_then(|condition| condition["lastTransitionTime"].as_str()).map(str::to_owned);
    time.unwrap_or_else(|| OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
