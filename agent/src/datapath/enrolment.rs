//! Enrolment as a level: desired = pods that the controller enrolled ∩ pods that exist; the kernel is made equal to it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use heddle_core::mtls::MtlsPolicy;
use heddle_core::names::{Generation, PodUid};
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::LocalWorkload;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, Watcher as _};
use tokio::sync::{mpsc, oneshot, watch};

use super::capture::Capture;
use super::records::{self, Record};
use super::running::Running;
use super::{Datapath, WorkerCommand, sweep};
use crate::cni::ENDED;
use crate::node::{NodeRoots, Proc};
use crate::pod::Pod;

/// Level, not edge: whatever a notification missed is found again this soon.
const RESCAN: Duration = Duration::from_secs(5);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Where pods come from and are answered to.
#[derive(Clone, Debug, Default)]
pub struct EnrolmentOptions {
    /// One local pod record per pod of the node, `<uid>.json`.
    pub pods_dir: PathBuf,
    /// `<uid>` appears here when the pod is captured.
    pub captured_dir: PathBuf,
    /// Where to look for enrolled pods that run without a record; nowhere by default.
    pub running: Option<Proc>,
    /// Where paths of the node are.
    pub roots: NodeRoots,
}

/// Each pod that is captured, and in which network namespace.
pub type Captured = HashMap<PodUid, Arc<Pod>>;

/// What the kernel has been brought to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Every pod of this generation was captured or released, but for `failed`.
    pub generation: Generation,
    /// Pods captured now.
    pub enrolled: usize,
    /// Pods that are not as they should be, and why.
    pub failed: Vec<(PodUid, String)>,
}

/// The running owner of enrolment. It ends when this is dropped, and the kernel keeps what it has: captured pods stay
/// captured, and are refused for want of listeners.
#[derive(Debug)]
pub struct EnrolmentHandle {
    /// Answers each generation once the kernel is there.
    pub applied: watch::Receiver<Applied>,
    /// Which pods are captured now, and where: a pod may come again with its UID in another namespace.
    pub captured: watch::Receiver<Arc<Captured>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for EnrolmentHandle {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Starts the owner of enrolment on a thread of its own, because its system calls block and change namespaces.
/// Generation 0 means that nothing is known yet: what an earlier agent left captured stays so until a real snapshot comes.
pub fn spawn(
    datapath: &Datapath,
    options: EnrolmentOptions,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    workers: Vec<mpsc::Sender<WorkerCommand>>,
) -> io::Result<EnrolmentHandle> {
    std::fs::create_dir_all(&options.pods_dir)?;
    std::fs::create_dir_all(&options.captured_dir)?;
    let EnrolmentOptions { pods_dir, captured_dir, running, roots } = options;
    let capture = Capture { kernel: datapath.kernel.clone(), workers, captured_dir, roots };
    let (publish, applied) = watch::channel(Applied::default());
    let (tell, captured) = watch::channel(Arc::default());
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut enrolment = Enrolment {
        capture,
        pods_dir,
        running: running.map(Running::new),
        pods: HashMap::new(),
        failing: HashMap::new(),
        tell,
    };
    let thread = thread::Builder::new()
        .name("enrolment".to_owned())
        .spawn(move || runtime.block_on(enrolment.run(snapshots, publish, stopped)))?;
    Ok(EnrolmentHandle { applied, captured, stop: Some(stop), thread: Some(thread) })
}

/// A pod that is in.
#[derive(Debug)]
struct Enrolled {
    pod: Arc<Pod>,
    record: Record,
    /// The record was found in /proc: there is no file of it.
    running: bool,
    policy: MtlsPolicy,
}

#[derive(Debug)]
struct Enrolment {
    capture: Capture,
    pods_dir: PathBuf,
    running: Option<Running>,
    tell: watch::Sender<Arc<Captured>>,
    pods: HashMap<PodUid, Enrolled>,
    /// Half-way in: closed, until a later pass brings them in or releases them.
    failing: HashMap<PodUid, Arc<Pod>>,
}

impl Enrolment {
    async fn run(
        &mut self,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        publish: watch::Sender<Applied>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let (changed, mut changes) = mpsc::channel(1);
        let _watching = watch_folder(&self.pods_dir, changed);
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let mut again = RESCAN;
            if snapshot.generation().0 > 0 {
                let (applied, late) = self.reconcile(&snapshot).await;
                if late || !applied.failed.is_empty() {
                    again = RETRY;
                }
                self.tell_captured();
                publish.send_if_modified(|old| std::mem::replace(old, applied.clone()) != applied);
            }
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                Some(()) = changes.recv() => {}
                () = tokio::time::sleep(again) => {}
                _ = &mut stopped => return,
            }
        }
    }

    /// One pass: releases first, so that an address or an interface that changed hands is free. True: /proc is to be looked
    /// at again soon.
    async fn reconcile(&mut self, snapshot: &Snapshot) -> (Applied, bool) {
        let mut failed = Vec::new();
        let (mut records, unreadable) = match records::read_all(&self.pods_dir) {
            Ok(read) => read,
            Err(error) => {
                let reason = format!("{}: {error}", self.pods_dir.display());
                failed.extend(self.pods.keys().map(|uid| (uid.clone(), reason.clone())));
                let enrolled = self.pods.len();
                return (Applied { generation: snapshot.generation(), enrolled, failed }, false);
            }
        };
        // A record that cannot be read says nothing: its pod stays as it is, in or out.
        failed.extend(unreadable);
        let late = self.find_running(snapshot, &mut records, &mut failed);
        let desired: HashMap<&PodUid, (&Record, &LocalWorkload)> = snapshot
            .locals()
            .filter(|local| local.enrolled)
            .filter_map(|local| Some((&local.pod_uid, (records.get(&local.pod_uid)?, &**local))))
            .collect();
        self.release_others(&desired, &records, &mut failed).await;
        for (uid, (record, local)) in &desired {
            if let Err(reason) = self.bring_in(record, local, snapshot.generation()).await {
                tracing::warn!(pod = local.name.as_ref(), reason, "not captured");
                failed.push(((*uid).clone(), reason));
            }
        }
        if failed.is_empty() && !late {
            self.sweep(&desired);
        }
        (Applied { generation: snapshot.generation(), enrolled: self.pods.len(), failed }, late)
    }

    /// Adds records of enrolled pods that run without one: those found before, and those to be found now.
    fn find_running(
        &mut self,
        snapshot: &Snapshot,
        records: &mut HashMap<PodUid, Record>,
        failed: &mut Vec<(PodUid, String)>,
    ) -> bool {
        let Some(running) = &mut self.running else { return false };
        for (uid, held) in self.pods.iter().filter(|(_, held)| held.running) {
            let ended = ended(&self.pods_dir, uid);
            if !ended && !records.contains_key(uid) {
                records.insert(uid.clone(), held.record.clone());
            }
        }
        let unreadable: Vec<PodUid> = failed.iter().map(|(uid, _)| uid.clone()).collect();
        let missing = |local: &&LocalWorkload| {
            let uid = &local.pod_uid;
            local.enrolled
                && !records.contains_key(uid)
                && !unreadable.contains(uid)
                && !ended(&self.pods_dir, uid)
        };
        let wanted: Vec<&LocalWorkload> = snapshot.locals().map(|local| &**local).filter(missing).collect();
        let Some(found) = running.find(&wanted, snapshot) else { return true };
        for (uid, record) in found {
            match record {
                Ok(record) => drop(records.insert(uid, record)),
                Err(reason) => failed.push((uid, reason)),
            }
        }
        false
    }

    /// After every pass, for whoever waits for a pod.
    fn tell_captured(&self) {
        let now: Captured = self.pods.iter().map(|(uid, held)| (uid.clone(), held.pod.clone())).collect();
        let same = |old: &Captured| {
            let is = |(uid, pod): (&PodUid, &Arc<Pod>)| now.get(uid).is_some_and(|new| Arc::ptr_eq(new, pod));
            old.len() == now.len() && old.iter().all(is)
        };
        if !same(&self.tell.borrow()) {
            self.tell.send_replace(Arc::new(now));
        }
    }

    /// Only after a pass without a failure: what an earlier agent left may be all that closes a pod that failed now.
    fn sweep(&self, desired: &HashMap<&PodUid, (&Record, &LocalWorkload)>) {
        self.clear_answers(desired);
        let known = self.pods.values().map(|enrolled| &*enrolled.pod);
        if let Err(reason) = sweep::remove_all_but(&self.capture, known) {
            tracing::warn!(reason, "stale kernel state stays; the next pass tries again");
        }
    }

    async fn release_others(
        &mut self,
        desired: &HashMap<&PodUid, (&Record, &LocalWorkload)>,
        records: &HashMap<PodUid, Record>,
        failed: &mut Vec<(PodUid, String)>,
    ) {
        let unreadable: Vec<PodUid> = failed.iter().map(|(uid, _)| uid.clone()).collect();
        let stays = |uid: &PodUid, record: &Record| {
            unreadable.contains(uid) || desired.get(uid).is_some_and(|(wanted, _)| *wanted == record)
        };
        let leaving: Vec<PodUid> = self
            .pods
            .iter()
            .filter(|(uid, held)| !stays(uid, &held.record))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in leaving {
            let Some(held) = self.pods.get(&uid) else { continue };
            let runs = records.get(&uid) == Some(&held.record);
            match self.capture.release(&held.pod, runs).await {
                Ok(()) => {
                    tracing::info!(pod = %held.pod, "released");
                    self.pods.remove(&uid);
                }
                // Half-way out: nothing may serve it any more, so that it cannot simply stay in.
                Err(reason) => {
                    failed.push((uid.clone(), reason));
                    self.failing.extend(self.pods.remove(&uid).map(|held| (uid, held.pod)));
                }
            }
        }
        let given_up = |uid: &&PodUid| !desired.contains_key(*uid) && !unreadable.contains(*uid);
        let given_up: Vec<PodUid> = self.failing.keys().filter(given_up).cloned().collect();
        for uid in given_up {
            let Some(pod) = self.failing.get(&uid) else { continue };
            match self.capture.release(pod, records.contains_key(&uid)).await {
                Ok(()) => drop(self.failing.remove(&uid)),
                Err(reason) => failed.push((uid, reason)),
            }
        }
    }

    async fn bring_in(
        &mut self,
        record: &Record,
        local: &LocalWorkload,
        generation: Generation,
    ) -> Result<(), String> {
        if let Some(held) = self.pods.get_mut(&local.pod_uid) {
            self.capture.refresh(&held.pod, &held.policy, &local.mtls, generation)?;
            held.policy = local.mtls.clone();
            return Ok(());
        }
        let pod = Arc::new(record.open(local, &self.capture.roots)?);
        self.failing.insert(pod.uid.clone(), pod.clone());
        self.capture.enrol(&pod, &local.mtls, generation).await?;
        self.failing.remove(&pod.uid);
        tracing::info!(pod = %pod, addresses = ?pod.addresses, "captured");
        let running = self.running.is_some() && !self.pods_dir.join(format!("{}.json", pod.uid)).exists();
        let enrolled =
            Enrolled { pod: pod.clone(), record: record.clone(), running, policy: local.mtls.clone() };
        self.pods.insert(pod.uid.clone(), enrolled);
        Ok(())
    }

    /// Answers of pods that an earlier agent captured, and that are out now.
    fn clear_answers(&self, desired: &HashMap<&PodUid, (&Record, &LocalWorkload)>) {
        let Ok(entries) = std::fs::read_dir(&self.capture.captured_dir) else { return };
        for entry in entries.flatten() {
            let uid = PodUid::new(entry.file_name().to_string_lossy().as_ref());
            if !desired.contains_key(&uid)
                && let Err(error) = self.capture.answer(&uid, None)
            {
                tracing::warn!(uid = %uid, %error, "a stale answer stays");
            }
        }
    }
}

/// Whether a DEL has ended the pod's last attachment.
fn ended(folder: &Path, uid: &PodUid) -> bool {
    folder.join(format!("{uid}.{ENDED}")).exists()
}

/// Wakes the loop when a record comes or goes. Without it the rescan does, later.
fn watch_folder(folder: &Path, changed: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let wake = move |event: notify::Result<notify::Event>| {
        // Reading the folder is an event too, and would wake its reader for ever.
        let written = |kind: EventKind| {
            !kind.is_access() || kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
        };
        if event.is_ok_and(|event| written(event.kind)) {
            // Full: the loop is about to look anyway.
            let _ = changed.try_send(());
        }
    };
    let watching = notify::recommended_watcher(wake).and_then(|mut watcher| {
        watcher.watch(folder, notify::RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watching.inspect_err(|error| tracing::warn!(%error, "no notifications of pod records")).ok()
}
