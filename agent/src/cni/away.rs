//! What is left for the time without an agent, and what such a time left: the list for the plugin, and records of pods that ended.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heddle_cni::enrolled::Enrolled;
use heddle_cni::install::report::Report;
use heddle_core::names::PodUid;
use heddle_core::snapshot::Snapshot;
use tokio::sync::watch;

use super::{Metrics, Records};
use crate::node::NodeRoots;

const AGAIN: Duration = Duration::from_secs(10);

/// Keeps the list equal to the newest snapshot, and the records to what exists, until the task is dropped.
pub async fn keep(
    folder: PathBuf,
    records: Records,
    roots: NodeRoots,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    metrics: Metrics,
) {
    let (list, report) = (folder.join("namespaces.json"), folder.join("installer.json"));
    let mut written = None;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let (list, report) = (list.clone(), report.clone());
        let (records, roots) = (records.clone(), roots.clone());
        let last = written.take();
        let work = tokio::task::spawn_blocking(move || {
            if snapshot.generation().0 == 0 {
                return (last, Report::read(&report));
            }
            let now = write(&list, &snapshot, last.as_ref())
                .inspect_err(|error| tracing::warn!(%error, list = %list.display(), "not written"))
                .ok();
            if let Err(error) = sweep(&records, &roots, &snapshot) {
                tracing::warn!(%error, "records of pods that ended stay");
            }
            (now, Report::read(&report))
        });
        let Ok((now, report)) = work.await else { return };
        written = now;
        metrics.show(report.as_ref());
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Only what changed; what somebody removed comes back.
fn write(path: &Path, snapshot: &Snapshot, last: Option<&Enrolled>) -> io::Result<Enrolled> {
    let now = Enrolled::now(snapshot.mesh().enrolled_namespaces.iter().cloned())?;
    if last != Some(&now) || !path.exists() {
        now.write(path)?;
    }
    Ok(now)
}

/// A DEL that came while no agent listened left its record.
fn sweep(records: &Records, roots: &NodeRoots, snapshot: &Snapshot) -> io::Result<()> {
    records.sweep(|record| record.is_stale(roots), |uid| snapshot.local(&PodUid::new(uid)).is_some())
}
