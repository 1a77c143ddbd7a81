//! A directory of manifests: files are read as they move, and every few seconds all of it is walked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher};
use tokio::sync::{mpsc, oneshot};

use super::Batch;
use super::holdings::Holdings;
use scan::Scan;

mod scan;

/// A change is looked at as soon as it is seen, and those that follow it at this pace, so that many make few batches.
const PACE: Duration = Duration::from_millis(15);
/// What the watch misses is found after this long.
const RESCAN: Duration = Duration::from_secs(5);
/// Of more files than this the directory is walked.
const MOST_FILES: usize = 1000;

/// Asks for a look.
#[derive(Debug)]
enum Wake {
    /// These files moved.
    Files(Vec<PathBuf>),
    /// Something else moved: the watch does not say everything about it.
    Walk,
    /// Somebody wants to know that everything until now is published.
    Barrier(oneshot::Sender<()>),
}

/// What the next look is to cover.
#[derive(Debug, Default)]
struct Due {
    walk: bool,
    files: BTreeSet<PathBuf>,
    barriers: Vec<oneshot::Sender<()>>,
}

impl Due {
    fn add(&mut self, wake: Wake) {
        match wake {
            Wake::Files(files) => self.files.extend(files),
            Wake::Walk => self.walk = true,
            Wake::Barrier(sender) => {
                self.walk = true;
                self.barriers.push(sender);
            }
        }
    }
}

/// A running registry.
#[derive(Clone, Debug)]
pub struct Directory {
    wake: std_mpsc::SyncSender<Wake>,
}

impl Directory {
    /// Starts to read and watch a directory on a thread of its own, which ends with the receiver of `batches`.
    pub fn spawn(root: PathBuf, holdings: Holdings, batches: mpsc::Sender<Batch>) -> std::io::Result<Self> {
        let (wake, woken) = std_mpsc::sync_channel(1024);
        let directory = Self { wake: wake.clone() };
        std::thread::Builder::new().name("registry".to_owned()).spawn(move || {
            run(Scan::new(root, holdings), &wake, &woken, &batches);
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
    let mut due = Due { walk: true, ..Due::default() };
    loop {
        let looked = Instant::now();
        let walk = due.walk || due.files.len() > MOST_FILES;
        let mut batch = if walk { scan.look() } else { scan.look_at(&due.files) };
        batch.published = std::mem::take(&mut due.barriers);
        if batches.blocking_send(batch).is_err() {
            return;
        }
        due = Due::default();
        match woken.recv_timeout(RESCAN) {
            Ok(wake) => due.add(wake),
            Err(std_mpsc::RecvTimeoutError::Timeout) => {
                due.walk = true;
                if watcher.is_none() {
                    watcher = watch(&root, wake);
                }
            }
            Err(std_mpsc::RecvTimeoutError::Disconnected) => return,
        }
        std::thread::sleep(PACE.saturating_sub(looked.elapsed()));
        while let Ok(wake) = woken.try_recv() {
            due.add(wake);
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
        if let Some(moved) = moved(event) {
            // Of a full queue's rest the next walk learns.
            let _ = wake.try_send(moved);
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

/// What an event asks to be looked at, if anything.
fn moved(event: notify::Result<notify::Event>) -> Option<Wake> {
    let Ok(event) = event else { return Some(Wake::Walk) };
    if event.kind.is_access() {
        return None;
    }
    let (mut files, mut walk) = (Vec::new(), event.need_rescan() || event.paths.is_empty());
    for path in event.paths.into_iter().filter(|path| !is_hidden(path)) {
        if is_manifest(&path) { files.push(path) } else { walk = true }
    }
    match (walk, files.is_empty()) {
        (true, _) => Some(Wake::Walk),
        (false, true) => None,
        (false, false) => Some(Wake::Files(files)),
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known))
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
        let path = entry.path();
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if is_hidden(&path) {
            continue;
        }
        if metadata.is_dir() {
            walk(&path, files, unread);
        } else if is_manifest(&path) {
            files.insert(path, scan::Stamp::of(&metadata));
        }
    }
}
