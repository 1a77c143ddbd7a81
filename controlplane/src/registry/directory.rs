//! A directory of manifests: walked whenever something in it moves, and every few seconds all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use heddle_api::normalised::Context;
use notify::{RecursiveMode, Watcher};
use tokio::sync::{mpsc, oneshot};

use super::Batch;
use scan::Scan;

mod scan;

/// A change is looked at after this long, so that many at once make one batch.
const SETTLE: Duration = Duration::from_millis(15);
/// What the watch misses is found after this long.
const RESCAN: Duration = Duration::from_secs(5);

/// Asks for a look.
#[derive(Debug)]
enum Wake {
    /// Something moved.
    Moved,
    /// Somebody wants to know that everything until now is published.
    Barrier(oneshot::Sender<()>),
}

/// A running registry.
#[derive(Clone, Debug)]
pub struct Directory {
    wake: std_mpsc::SyncSender<Wake>,
}

impl Directory {
    /// Starts to read and watch a directory on a thread of its own, which ends with the receiver of `batches`.
    pub fn spawn(root: PathBuf, context: Context, batches: mpsc::Sender<Batch>) -> std::io::Result<Self> {
        let (wake, woken) = std_mpsc::sync_channel(1024);
        let directory = Self { wake: wake.clone() };
        std::thread::Builder::new().name("registry".to_owned()).spawn(move || {
            run(Scan::new(root, context), &wake, &woken, &batches);
        })?;
        Ok(directory)
    }

    /// Waits until everything that was in the directory when this was called is published.
    pub async fn barrier(&self) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.wake.try_send(Wake::Barrier(sender)).is_ok() && receiver.await.is_ok()
    }
}

fn run(
    mut scan: Scan,
    wake: &std_mpsc::SyncSender<Wake>,
    woken: &std_mpsc::Receiver<Wake>,
    batches: &mpsc::Sender<Batch>,
) {
    let root = scan.root().to_owned();
    let mut watcher = watch(&root, wake);
    let mut barriers = Vec::new();
    loop {
        let mut batch = scan.look();
        batch.published = std::mem::take(&mut barriers);
        if batches.blocking_send(batch).is_err() {
            return;
        }
        // The walk above also covers what moved until now.
        match woken.recv_timeout(RESCAN) {
            Ok(Wake::Barrier(sender)) => barriers.push(sender),
            Ok(Wake::Moved) => std::thread::sleep(SETTLE),
            Err(std_mpsc::RecvTimeoutError::Timeout) if watcher.is_none() => watcher = watch(&root, wake),
            Err(std_mpsc::RecvTimeoutError::Timeout) => {}
            Err(std_mpsc::RecvTimeoutError::Disconnected) => return,
        }
        while let Ok(wake) = woken.try_recv() {
            if let Wake::Barrier(sender) = wake {
                barriers.push(sender);
            }
        }
        if batches.is_closed() {
            return;
        }
    }
}

/// The watch is only a hint: without it the directory is walked every few seconds.
fn watch(root: &Path, wake: &std_mpsc::SyncSender<Wake>) -> Option<notify::RecommendedWatcher> {
    let wake = wake.clone();
    let on_event = move |event: notify::Result<notify::Event>| {
        let read_only = event.as_ref().is_ok_and(|event| event.kind.is_access());
        if !read_only {
            // A full queue is a hint too.
            let _ = wake.try_send(Wake::Moved);
        }
    };
    let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    watcher
        .map_err(|error| tracing::warn!(directory = %root.display(), %error, "cannot watch; walking instead"))
        .ok()
}

/// Files below a folder by path, without those whose names start with a dot. Folders that cannot be read are named.
fn walk(folder: &Path, files: &mut BTreeMap<PathBuf, scan::Stamp>, unread: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        if folder.exists() {
            unread.insert(folder.to_owned());
        }
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let (path, hidden) = (entry.path(), name.to_string_lossy().starts_with('.'));
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if hidden {
            continue;
        }
        if metadata.is_dir() {
            walk(&path, files, unread);
        } else if path
            .extension()
            .is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known))
        {
            files.insert(path, scan::Stamp::of(&metadata));
        }
    }
}
