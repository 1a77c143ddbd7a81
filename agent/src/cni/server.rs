//! Questions of plugins, one per connection, each with an answer in bounded time.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heddle_cni::error::{CniError, Code};
use heddle_cni::invocation::is_name;
use heddle_cni::protocol::{Answer, Attachment, Key, MAX_LINE, Request};
use heddle_core::names::PodUid;
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::LocalWorkload;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::records::CniRecord;
use super::socket::Listening;
use super::{Metrics, Records, verdict};
use crate::control::ControlStatus;
use crate::datapath::place::{self, Place};
use crate::datapath::{Applied, Captured};
use crate::node::NodeRoots;
use crate::pod::NetnsCookie;

/// A node starts this many pods at once at the most; more wait in the socket's queue.
const AT_ONCE: usize = 128;
/// For the question to come, which is written at once.
const QUESTION: Duration = Duration::from_secs(5);
/// For enrolment. Shorter than the plugin's own patience, so that its error is ours, with the reason.
const CAPTURE: Duration = Duration::from_secs(40);

/// What the server looks at.
#[derive(Clone, Debug)]
pub struct Views {
    /// Configuration.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Whether there is a controller.
    pub status: watch::Receiver<ControlStatus>,
    /// Pods that are captured, and in which namespace.
    pub captured: watch::Receiver<Arc<Captured>>,
    /// Why one is not.
    pub applied: watch::Receiver<Applied>,
}

/// Answers plugins.
#[derive(Clone, Debug)]
pub struct Server {
    /// What it looks at.
    pub views: Views,
    /// What it writes.
    pub records: Records,
    /// Where paths of the node are.
    pub roots: NodeRoots,
    /// What it counts.
    pub metrics: Metrics,
}

impl Server {
    /// Serves until the task is dropped.
    pub async fn serve(self, listening: Listening) {
        let (server, places) = (Arc::new(self), Arc::new(Semaphore::new(AT_ONCE)));
        let mut connections = JoinSet::new();
        loop {
            // A semaphore that is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listening.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) => {
                    let server = Arc::clone(&server);
                    connections.spawn(async move {
                        server.converse(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the CNI socket takes no connection");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn converse(&self, stream: UnixStream) {
        // The socket's mode says the same.
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == 0) {
            self.metrics.count("none", "stranger");
            return;
        }
        let (read, mut write) = stream.into_split();
        let mut reader = BufReader::new(read);
        let request = match timeout(QUESTION, question(&mut reader)).await {
            Ok(Ok(request)) => request,
            Ok(Err(reason)) => return self.unreadable(&mut write, reason).await,
            Err(_elapsed) => return self.metrics.count("none", "late"),
        };
        let command = name(&request);
        let Some(answered) = self.answer(request, &mut reader).await else {
            return self.metrics.count(command, "gone");
        };
        let answer = match answered {
            Ok(()) => Answer::Ok,
            Err(error) => {
                tracing::warn!(command, code = error.code.0, %error, "refused to the CNI plugin");
                Answer::Error(error)
            }
        };
        self.metrics.count(command, if answer == Answer::Ok { "ok" } else { "refused" });
        say(&mut write, &answer).await;
    }

    async fn unreadable(&self, write: &mut tokio::net::unix::OwnedWriteHalf, reason: String) {
        self.metrics.count("none", "unreadable");
        say(write, &Answer::Error(CniError::new(Code::DECODE, "the question cannot be read", reason))).await;
    }

    /// `None`: the plugin went away while it waited.
    async fn answer(
        &self,
        request: Request,
        reader: &mut BufReader<OwnedReadHalf>,
    ) -> Option<Result<(), CniError>> {
        match request {
            Request::Add(pod) => {
                let mut written = None;
                let added = tokio::select! {
                    added = self.add(&pod, &mut written) => Some(added),
                    () = hangup(reader) => None,
                };
                // What did not start is not there; what an earlier ADD brought stays.
                if !matches!(added, Some(Ok(()))) && written == Some(true) {
                    let key = pod.key.clone();
                    if let Err(error) = self.blocking(move |records| records.withdraw(&key)).await {
                        tracing::warn!(%error, "a record stays");
                    }
                }
                added
            }
            Request::Check(pod) => Some(self.check(pod).await),
            Request::Del(key) => Some(self.blocking(move |records| records.end(&key)).await),
            Request::Gc { valid } => Some(self.collect(valid).await),
            // While there is no configuration yet, excluded namespaces are served: the controller may be to start here.
            Request::Status => Some(Ok(())),
        }
    }

    async fn add(&self, pod: &Attachment, written: &mut Option<bool>) -> Result<(), CniError> {
        if !is_name(&pod.uid) {
            // It becomes the name of a file.
            return Err(CniError::new(
                Code::REFUSED,
                "the pod cannot be captured",
                format!("its UID is '{}'", pod.uid),
            ));
        }
        let local = self.word(pod).await?;
        let enrolled = local.as_ref().is_some_and(|local| local.enrolled);
        let place = match self.place(pod).await {
            Ok(place) => place,
            Err(reason) if enrolled => {
                return Err(CniError::new(Code::REFUSED, "the pod cannot be captured", reason));
            }
            // It is outside, and can stay so whatever its network is.
            Err(reason) => {
                tracing::debug!(pod = %format_args!("{}/{}", pod.namespace, pod.name), reason, "no record");
                return Ok(());
            }
        };
        let mut record = CniRecord::new(pod, &place);
        if let Some(local) = &local {
            local.identity.service_account().clone_into(&mut record.service_account);
        }
        *written = Some(self.blocking(move |records| records.put(&record)).await?);
        if !enrolled {
            return Ok(());
        }
        self.captured(pod, place.cookie).await
    }

    /// The controller's word, or none, if the pod may start without.
    async fn word(&self, pod: &Attachment) -> Result<Option<Arc<LocalWorkload>>, CniError> {
        let (mut snapshots, mut status) = (self.views.snapshots.clone(), self.views.status.clone());
        let began = Instant::now();
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let connected = status.borrow_and_update().connected;
            if let Some(local) = verdict::word(&snapshot, pod)? {
                return Ok(Some(local));
            }
            let until = began + verdict::patience(&snapshot, connected, pod);
            if Instant::now() >= until {
                return verdict::without_word(&snapshot, pod).map(|()| None);
            }
            tokio::select! {
                changed = snapshots.changed() => changed.map_err(|_closed| ending())?,
                changed = status.changed() => changed.map_err(|_closed| ending())?,
                () = sleep_until(until) => {}
            }
        }
    }

    /// Waits until this very namespace is captured.
    async fn captured(&self, pod: &Attachment, cookie: NetnsCookie) -> Result<(), CniError> {
        let (mut snapshots, mut captured) = (self.views.snapshots.clone(), self.views.captured.clone());
        let (uid, deadline) = (PodUid::new(pod.uid.as_str()), Instant::now() + CAPTURE);
        let again = |details: String| CniError::new(Code::AGAIN, "the pod is not captured", details);
        loop {
            if captured.borrow_and_update().get(&uid).is_some_and(|pod| pod.cookie == cookie) {
                return Ok(());
            }
            match snapshots.borrow_and_update().local(&uid) {
                None => {
                    return Err(again(format!("pod {}/{} was deleted meanwhile", pod.namespace, pod.name)));
                }
                Some(local) if !local.enrolled => return Ok(()),
                Some(_) => {}
            }
            tokio::select! {
                changed = captured.changed() => changed.map_err(|_closed| ending())?,
                changed = snapshots.changed() => changed.map_err(|_closed| ending())?,
                () = sleep_until(deadline) => {
                    let applied = self.views.applied.borrow();
                    let reason = applied.failed.iter().find(|(failed, _)| *failed == uid);
                    let reason = reason.map_or("heddle-agent has not come to it", |(_, reason)| reason);
                    return Err(again(format!("{reason} (after {CAPTURE:?})")));
                }
            }
        }
    }

    async fn check(&self, pod: Attachment) -> Result<(), CniError> {
        let mismatch =
            |details: String| CniError::new(Code::MISMATCH, "the pod is not as it was added", details);
        let key = pod.key.clone();
        let record = self.blocking(move |records| records.get(&key)).await?;
        let local = verdict::word(&self.views.snapshots.borrow(), &pod)?;
        let enrolled = local.is_some_and(|local| local.enrolled);
        let Some(record) = record else {
            // It was there before the plugin, and may be captured all the same.
            let captured = self.views.captured.borrow().contains_key(pod.uid.as_str());
            return if enrolled && !captured {
                Err(mismatch("it is enrolled and not captured".to_owned()))
            } else {
                Ok(())
            };
        };
        let expected = (&pod.uid, &pod.netns, &pod.ips);
        if expected != (&record.uid, &record.netns, &record.ips) {
            return Err(mismatch(format!(
                "prevResult has {:?} in {}, the record of the ADD has {:?} in {}",
                pod.ips,
                pod.netns.display(),
                record.ips,
                record.netns.display()
            )));
        }
        let place = self.place(&pod).await.map_err(mismatch)?;
        if place.cookie.0 != record.netns_cookie || place.host_ifindex != record.host_ifindex {
            return Err(mismatch(format!(
                "{} is another network namespace, or behind another interface",
                pod.netns.display()
            )));
        }
        if enrolled { self.captured(&pod, place.cookie).await } else { Ok(()) }
    }

    /// Only what is gone altogether: another runtime of the node may share the configuration, and lists its own attachments.
    async fn collect(&self, valid: Vec<Key>) -> Result<(), CniError> {
        let (valid, roots): (HashSet<Key>, _) = (valid.into_iter().collect(), self.roots.clone());
        let stale = move |record: &CniRecord| !valid.contains(&record.key) && record.is_stale(&roots);
        self.blocking(move |records| records.sweep(stale, |_| true)).await
    }

    async fn place(&self, pod: &Attachment) -> Result<Place, String> {
        let (path, ips): (PathBuf, _) = (self.roots.find(&pod.netns), pod.ips.clone());
        let looked = tokio::task::spawn_blocking(move || place::look(&path, &ips)).await;
        looked.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Records) -> std::io::Result<R> + Send + 'static,
    ) -> Result<R, CniError> {
        let records = self.records.clone();
        let done = tokio::task::spawn_blocking(move || work(&records)).await;
        let failed = |details: String| CniError::new(Code::IO, "the pod's record cannot be kept", details);
        done.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }
}

async fn question(reader: &mut BufReader<OwnedReadHalf>) -> Result<Request, String> {
    let mut line = Vec::new();
    let read = reader.take(MAX_LINE as u64).read_until(b'\n', &mut line).await;
    read.map_err(|error| error.to_string())?;
    if line.last() != Some(&b'\n') {
        return Err(format!("it is no line of at most {MAX_LINE} bytes"));
    }
    serde_json::from_slice(&line).map_err(|error| error.to_string())
}

/// A plugin says nothing more: whatever comes is its end.
async fn hangup(reader: &mut BufReader<OwnedReadHalf>) {
    let _ = reader.read_u8().await;
}

async fn say(write: &mut tokio::net::unix::OwnedWriteHalf, answer: &Answer) {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    // A plugin that is gone needs no answer.
    let _ = timeout(QUESTION, write.write_all(&line)).await;
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Add(_) => "ADD",
        Request::Check(_) => "CHECK",
        Request::Del(_) => "DEL",
        Request::Gc { .. } => "GC",
        Request::Status => "STATUS",
    }
}

fn ending() -> CniError {
    CniError::new(Code::AGAIN, "the pod cannot be captured now", "heddle-agent is ending")
}
