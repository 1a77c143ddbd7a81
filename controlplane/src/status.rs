//! Writes what became of objects: one small file an object, in the shape that the kind's status has.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use heddle_api::diagnostic::Problem;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use crate::engine::Verdicts;
use crate::index::route::ParentVerdict;
use crate::registry::{Judged, ObjectId, Verdict};

mod body;
pub mod cluster;

/// What there is to say about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// By itself.
    pub judged: Judged,
    /// Of a route: by its parents.
    pub parents: Vec<ParentVerdict>,
    /// Among all objects.
    pub analysis: Vec<Problem>,
}

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
            for (id, told) in news {
                let path = path(&directory, &id);
                let done = match told.filter(|told| worth_telling(&id, &told.judged)) {
                    Some(told) => write(&path, &id, &told),
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
    id.is_of_mesh() || !matches!(judged.verdict, Verdict::Accepted(_))
}

fn path(directory: &Path, id: &ObjectId) -> PathBuf {
    let namespace = if id.namespace.is_empty() { "_" } else { &*id.namespace };
    directory.join(&*id.directory).join(namespace).join(format!("{}.json", id.name))
}

/// Writes it, unless that is what is there.
fn write(path: &Path, id: &ObjectId, told: &Told) -> io::Result<()> {
    let old: Option<Value> = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let body = body::of(id, told, old.as_ref(), &now.format(&Rfc3339).unwrap_or_default());
    if old.as_ref() == Some(&body) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let temporary = path.with_file_name(format!(".{name}"));
    fs::write(&temporary, body.to_string())?;
    fs::rename(&temporary, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
