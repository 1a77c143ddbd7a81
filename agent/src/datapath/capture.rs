//! One pod into the mesh and out of it: every step in an order that refuses rather than leaks.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heddle_abi::{Egress, ListenerKey, ListenerKind, PodEntry};
use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use heddle_core::names::{Generation, PodUid};
use tokio::sync::mpsc;

use super::endpoint::{address, of_family};
use super::kernel::Kernel;
use super::{PodListeners, WorkerCommand, destroy, earlier, listeners, modes, netns};
use crate::node::NodeRoots;
use crate::pod::{NetnsCookie, Pod};

/// How long a worker may leave an order unread.
const WORKER: Duration = Duration::from_secs(5);

/// In the pod's namespace.
const SYSCTLS: [(&str, &str); 2] = [
    // TIME_WAIT of podIP:ephemeral towards podIP:15001 would exhaust the range otherwise.
    ("tcp_tw_reuse", "1"),
    // A listener that closes leaves what it has not accepted to the others of its SO_REUSEPORT group (Linux 5.14).
    ("tcp_migrate_req", "1"),
];

/// Brings pods in and out; owned by the one task that enrols.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) kernel: Arc<Kernel>,
    pub(super) workers: Vec<mpsc::Sender<WorkerCommand>>,
    pub(super) captured_dir: PathBuf,
    pub(super) roots: NodeRoots,
}

impl Capture {
    /// Guard, listeners, steering, capture; and the guard closes behind what the pod was dialling meanwhile: a pod that
    /// runs loses no connection. Whatever fails leaves the pod closed, and so does every moment of a pod that is STRICT or
    /// that an earlier agent had captured.
    pub(super) async fn enrol(
        &self,
        pod: &Arc<Pod>,
        policy: &MtlsPolicy,
        generation: Generation,
    ) -> Result<(), String> {
        let guard = |error: io::Error| format!("guard: {error}");
        let maps = &self.kernel.maps;
        let captured = maps.pods.get(&pod.cookie.0).map_err(|error| format!("capture: {error}"))?.is_some();
        let strict = modes::tightens(None, policy);
        let egress = if captured || strict { Egress::Captured } else { Egress::Open };
        if let Err(error) = modes::write(maps, pod, policy, egress) {
            // A guard that knows nothing of its pod lets nothing through.
            let _closed = self.kernel.attach_guard(pod.host_ifindex);
            return Err(guard(error));
        }
        let brought = self.bring_in(pod, generation).await;
        modes::write(maps, pod, policy, Egress::Captured).map_err(guard)?;
        brought?;
        self.destroy_older(pod, None, policy);
        self.answer(&pod.uid, Some(generation)).map_err(|error| format!("captured file: {error}"))
    }

    async fn bring_in(&self, pod: &Arc<Pod>, generation: Generation) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| super::error::chain(error);
        self.kernel.attach_guard(pod.host_ifindex).map_err(|error| text(&error))?;
        listeners::refuse_strangers(pod, self.kernel.own_cgroup)?;
        for (sysctl, value) in SYSCTLS {
            let path = format!("/proc/sys/net/ipv4/{sysctl}");
            if let Err(error) = self.set_sysctl(pod, Path::new(&path), value) {
                tracing::debug!(pod = %pod, %error, sysctl, "stays as it is");
            }
        }
        let sets = listeners::open(pod, self.workers.len(), &self.kernel.maps.agent_sockets)
            .map_err(|error| error.to_string())?;
        if let Some(first) = sets.first() {
            self.steer_to(first).map_err(|error| format!("listeners: {error}"))?;
        }
        self.serve(sets).await?;
        self.kernel.attach_lookup(pod).map_err(|error| text(&error))?;
        self.capture(pod, generation).map_err(|error| format!("capture: {error}"))?;
        // Who bound a port before the bind programs knew the pod, and listens by now.
        listeners::refuse_strangers(pod, self.kernel.own_cgroup)?;
        let dialling = earlier::publish(&self.kernel.maps, pod);
        tracing::debug!(pod = %pod, ?dialling, "connects from before");
        dialling.map(drop).map_err(|error| format!("connects from before: {error}"))
    }

    /// A pod that is in already: its modes, and again whatever somebody may have removed.
    pub(super) fn refresh(
        &self,
        pod: &Arc<Pod>,
        old: &MtlsPolicy,
        policy: &MtlsPolicy,
        generation: Generation,
    ) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| super::error::chain(error);
        modes::write(&self.kernel.maps, pod, policy, Egress::Captured)
            .map_err(|error| format!("guard: {error}"))?;
        self.kernel.attach_guard(pod.host_ifindex).map_err(|error| text(&error))?;
        self.kernel.attach_lookup(pod).map_err(|error| text(&error))?;
        self.capture(pod, generation).map_err(|error| format!("capture: {error}"))?;
        self.destroy_older(pod, Some(old), policy);
        self.answer(&pod.uid, Some(generation)).map_err(|error| format!("captured file: {error}"))
    }

    /// The same in reverse: the guard opens, nothing is captured any more, then nothing serves it, and the guard leaves
    /// last. A pod that `runs` on is served a little longer: what was captured or steered a moment ago is still to come.
    pub(super) async fn release(&self, pod: &Pod, runs: bool) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| super::error::chain(error);
        self.answer(&pod.uid, None).map_err(|error| format!("captured file: {error}"))?;
        modes::open_egress(&self.kernel.maps, pod.host_ifindex).map_err(|error| format!("guard: {error}"))?;
        self.kernel.maps.pods.remove(&pod.cookie.0).map_err(|error| format!("capture: {error}"))?;
        self.kernel.detach_lookup(pod.cookie).map_err(|error| text(&error))?;
        // LISTENERS is left alone: a lookup that has begun goes on to it, and would answer a client of the pod with RST. A
        // listener takes its entry along when it closes.
        for worker in &self.workers {
            let uid = pod.uid.clone();
            let command = if runs { WorkerCommand::Release(uid) } else { WorkerCommand::Stop(uid) };
            order(worker, command).await?;
        }
        self.kernel.detach_guard(pod.host_ifindex).map_err(|error| text(&error))?;
        modes::remove(&self.kernel.maps, pod.host_ifindex).map_err(|error| format!("guard: {error}"))
    }

    /// Removes what an earlier agent captured and nobody wants any more.
    pub(super) fn forget(&self, cookie: NetnsCookie) -> Result<(), String> {
        self.kernel.maps.pods.remove(&cookie.0).map_err(|error| format!("capture: {error}"))?;
        self.kernel.detach_lookup(cookie).map_err(|error| super::error::chain(&error))
    }

    fn steer_to(&self, set: &PodListeners) -> io::Result<()> {
        let kinds = [(ListenerKind::Plaintext, &set.plaintext), (ListenerKind::Tunnel, &set.tunnel)];
        for (kind, sockets) in kinds {
            for socket in sockets {
                let key = ListenerKey::new(address(socket.local_addr()?.ip()), kind);
                self.kernel.maps.listeners.put(&key, &socket.as_raw_fd().cast_unsigned())?;
            }
        }
        Ok(())
    }

    /// A container's own /proc/sys is read-only; the node's is not, and shows the namespace that the caller is in.
    fn set_sysctl(&self, pod: &Pod, path: &Path, value: &str) -> io::Result<()> {
        let mut done = Ok(());
        for path in self.roots.candidates(path) {
            done = netns::set_sysctl(pod.netns.as_fd(), &path, value);
            if !done.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem) {
                break;
            }
        }
        done
    }

    async fn serve(&self, sets: Vec<PodListeners>) -> Result<(), String> {
        for (worker, set) in self.workers.iter().zip(sets) {
            order(worker, WorkerCommand::Serve(set)).await?;
        }
        Ok(())
    }

    fn capture(&self, pod: &Pod, generation: Generation) -> io::Result<()> {
        let (v4, v6) = (of_family(&pod.addresses, true), of_family(&pod.addresses, false));
        let (pods, cookie) = (&self.kernel.maps.pods, pod.cookie.0);
        let (generation, since) = match pods.get(&cookie)? {
            Some(entry) => (entry.generation(), entry.captured_at()),
            None => (generation.0, earlier::now()?),
        };
        pods.keep(&cookie, &PodEntry::new(cookie, pod.host_ifindex, generation, since).at(cookie, v4, v6))
    }

    /// The kubelet waits for this file before it starts containers.
    pub(super) fn answer(&self, uid: &PodUid, captured: Option<Generation>) -> io::Result<()> {
        let path = self.captured_dir.join(uid.as_str());
        let Some(Generation(generation)) = captured else {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        };
        if path.exists() {
            return Ok(());
        }
        let temporary = self.captured_dir.join(format!(".{uid}"));
        std::fs::write(&temporary, format!("{{\"generation\":{generation}}}\n"))?;
        std::fs::rename(temporary, path)
    }

    /// Under STRICT, plaintext connections from before end.
    fn destroy_older(&self, pod: &Pod, old: Option<&MtlsPolicy>, policy: &MtlsPolicy) {
        if !modes::tightens(old, policy) {
            return;
        }
        match destroy::plaintext(pod, self.kernel.own_cgroup, |port| policy.mode(port) == MtlsMode::Strict) {
            Ok(0) => {}
            Ok(count) => tracing::info!(pod = %pod, count, "plaintext connections destroyed"),
            Err(error) => tracing::warn!(pod = %pod, %error, "plaintext connections from before may go on"),
        }
    }
}

async fn order(worker: &mpsc::Sender<WorkerCommand>, command: WorkerCommand) -> Result<(), String> {
    match worker.send_timeout(command, WORKER).await {
        Ok(()) => Ok(()),
        Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err("a worker takes no orders".to_owned()),
        Err(mpsc::error::SendTimeoutError::Closed(_)) => Err("a worker has ended".to_owned()),
    }
}
