//! One worker: one thread, one single-threaded runtime, and every connection that it accepted from beginning to end.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use heddle_core::names::PodUid;
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::ClusterStates;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::accept;
use super::arena::Arena;
use super::command::{PodListeners, WorkerCommand};
use super::limits::Limits;
use super::live::{ConnectionView, LiveTable};
use super::network::PodNetwork;
use super::rules::Rules;
use super::served::Served;
use super::tunnel::pool::Pool;
use super::{ListRequest, WorkerContext};
use crate::dns::Names;
use crate::http::HttpState;
use crate::telemetry::{Direction, Reason, WorkerTelemetry};
use crate::tls::Credentials;

/// How long tasks have to end once they were told to.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

/// How long a pod that has left is still accepted for: a handshake over a busy machine, many times.
const LINGER: Duration = Duration::from_secs(1);

/// What the connections of one worker share; never leaves its thread.
#[derive(Debug)]
pub struct Worker<N> {
    /// Sockets in pods.
    pub network: N,
    /// Configuration.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Certificates.
    pub credentials: Arc<dyn Credentials>,
    /// Counters and access log.
    pub telemetry: Rc<WorkerTelemetry>,
    /// Deadlines and bounds.
    pub limits: Limits,
    /// Connections.
    pub live: Rc<LiveTable>,
    /// What sockets are read into.
    pub arena: Arena,
    /// What pods are judged by.
    pub rules: Rules,
    /// Tunnels to other pods.
    pub pool: Pool,
    /// Where requests go.
    pub http: HttpState,
    /// Every task of the worker, to be waited for at the end.
    pub tasks: TaskTracker,
    /// No new connections.
    pub draining: CancellationToken,
    random: Cell<u64>,
}

impl<N: PodNetwork> Worker<N> {
    fn new(context: WorkerContext<N>, states: Arc<ClusterStates>, names: Arc<Names>) -> Rc<Self> {
        let telemetry = context.telemetry.worker();
        let live = LiveTable::new(telemetry.live.clone());
        let (tasks, draining) = (TaskTracker::new(), CancellationToken::new());
        Rc::new(Self {
            network: context.network,
            snapshots: context.snapshots,
            credentials: context.credentials,
            telemetry,
            limits: context.limits,
            live,
            arena: Arena::default(),
            rules: Rules::default(),
            pool: Pool::default(),
            http: HttpState::new(states, names, tasks.clone()),
            tasks,
            draining,
            random: Cell::new(RandomState::new().build_hasher().finish() | 1),
        })
    }

    /// The newest configuration.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// Spreads load; nothing depends on its quality (xorshift64*).
    pub fn random(&self) -> u64 {
        self.random_bits() >> 16
    }

    /// The same, with all bits; the lower ones are the worse.
    pub fn random_bits(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// Runs a worker until it has drained.
pub(super) async fn run<N: PodNetwork>(
    context: WorkerContext<N>,
    (states, names): (Arc<ClusterStates>, Arc<Names>),
    mut commands: mpsc::Receiver<WorkerCommand>,
    mut lists: mpsc::Receiver<ListRequest>,
) {
    let worker = Worker::new(context, states, names);
    let mut pods = Pods { worker: worker.clone(), served: HashMap::new() };
    worker.telemetry.configure(&worker.snapshot().mesh().traffic);
    let mut snapshots = worker.snapshots.clone();
    let mut sweep = interval(worker.limits.sweep);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut configured = true;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(WorkerCommand::Serve(listeners)) => pods.serve(listeners),
                Some(WorkerCommand::Release(pod)) => pods.release(&pod),
                Some(WorkerCommand::Stop(pod)) => pods.stop(&pod),
                Some(WorkerCommand::Drain) | None => break,
            },
            changed = snapshots.changed(), if configured => match changed {
                Ok(()) => {
                    let snapshot = snapshots.borrow_and_update().clone();
                    worker.telemetry.configure(&snapshot.mesh().traffic);
                    worker.rules.learn(&snapshot);
                    worker.live.revoke(&snapshot);
                    worker.http.clusters.learn(&snapshot);
                    worker.pool.forget_gone(|ip| snapshot.workload_at(ip).is_some());
                }
                // Without control, the last configuration stays in force.
                Err(_closed) => configured = false,
            },
            Some(reply) = lists.recv() => list(&worker.live, reply),
            _ = sweep.tick() => {
                worker.pool.sweep(worker.limits.tunnel_idle);
                worker.http.clusters.sweep();
                worker.live.report();
                worker.arena.release();
            }
        }
    }
    drain(&worker, &mut pods, &mut commands).await;
}

fn list(live: &LiveTable, reply: oneshot::Sender<Vec<ConnectionView>>) {
    // Who asked may have gone meanwhile.
    drop(reply.send(live.list()));
}

/// Lets what is open finish until the deadline; revocations and stopped pods still count.
async fn drain<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    pods: &mut Pods<N>,
    commands: &mut mpsc::Receiver<WorkerCommand>,
) {
    tracing::info!(connections = worker.live.len(), "worker drains");
    worker.draining.cancel();
    worker.http.clusters.close();
    worker.tasks.close();
    let mut snapshots = worker.snapshots.clone();
    let mut deadline = std::pin::pin!(sleep(worker.limits.drain));
    let mut sweep = interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            biased;
            () = worker.tasks.wait() => return,
            () = &mut deadline => break,
            Some(command) = commands.recv() => match command {
                WorkerCommand::Stop(pod) => pods.stop(&pod),
                WorkerCommand::Release(pod) => pods.release(&pod),
                WorkerCommand::Serve(_) | WorkerCommand::Drain => {}
            },
            Ok(()) = snapshots.changed() => worker.live.revoke(&snapshots.borrow_and_update().clone()),
            _ = sweep.tick() => {
                worker.http.clusters.close();
                worker.pool.sweep(Duration::ZERO);
            }
        }
    }
    worker.live.close_all(Reason::Drained);
    worker.pool.clear();
    pods.served.values().for_each(|served| served.stopped.cancel());
    if timeout(LAST_MOMENTS, worker.tasks.wait()).await.is_err() {
        tracing::warn!(tasks = worker.tasks.len(), "tasks outlive the drain");
    }
}

/// The pods of one worker.
struct Pods<N> {
    worker: Rc<Worker<N>>,
    served: HashMap<PodUid, Rc<Served>>,
}

impl<N: PodNetwork> Pods<N> {
    fn serve(&mut self, listeners: PodListeners) {
        let PodListeners { pod, outbound, plaintext, tunnel } = listeners;
        let worker = &self.worker;
        let earlier = self.served.get(&pod.uid);
        let served = Served::begin(pod.clone(), &worker.draining, earlier.map(|earlier| &**earlier));
        if let Some(earlier) = earlier {
            earlier.accepting.cancel();
            if earlier.pod.cookie != pod.cookie {
                self.stop(&pod.uid);
            }
        }
        let worker = &self.worker;
        worker.rules.begin(&pod.uid, &worker.snapshot());
        let each = [
            (Direction::Outbound, outbound),
            (Direction::Plaintext, plaintext),
            (Direction::Inbound, tunnel),
        ];
        for (direction, listeners) in each {
            for listener in listeners {
                worker.tasks.spawn_local(accept(worker.clone(), served.clone(), listener, direction));
            }
        }
        tracing::debug!(pod = %pod, "pod is served");
        self.served.insert(pod.uid.clone(), served);
    }

    fn release(&mut self, pod: &PodUid) {
        let Some(served) = self.served.remove(pod) else { return };
        self.worker.pool.forget_pod(pod);
        self.worker.http.clusters.forget_pod(pod);
        tracing::debug!(pod = %served.pod, "pod is served a little longer");
        let draining = self.worker.draining.clone();
        self.worker.tasks.spawn_local(async move {
            // Whoever is served again meanwhile has listeners of its own, and these are as good.
            drop(timeout(LINGER, draining.cancelled()).await);
            served.accepting.cancel();
        });
    }

    fn stop(&mut self, pod: &PodUid) {
        self.worker.live.close_pod(pod);
        self.worker.pool.forget_pod(pod);
        self.worker.http.clusters.forget_pod(pod);
        self.worker.rules.forget(pod);
        let Some(served) = self.served.remove(pod) else { return };
        served.accepting.cancel();
        served.stopped.cancel();
        tracing::debug!(pod = %served.pod, "pod is no longer served");
    }
}
