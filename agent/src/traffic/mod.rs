//! Connections: from a pod's captured socket through the tunnel to the other pod's application.
//!
//! ```text
//! worker ─► accept ─┬─ 15001 ─► outbound ─► tunnel::pool ─► tunnel::client ═══╗ (or dial, in clear)
//!                   ├─ 15008 ─► tunnel::server ─► inbound ─┐                  ║
//!                   └─ 15006 ─► plaintext ─────────────────┤                  ╚═► another pod's 15008
//!                                                          └► arrival ─┬───────────────► dial ─► the app
//!                                                                      └─► requests ───► dial ─► the app
//!
//! live: every connection, for revocation     copy: both ways, until both have ended
//! ```
//!
//! A worker is one thread. A captured connection, its tunnel and its application socket live and die on it: `Rc`,
//! `Cell`, no lock, and no hand-off between threads. Whatever ends early is reset, never closed: see [`socket::Socket`]
//! and [`tunnel::TunnelStream`].

pub mod accept;
pub mod arena;
mod arrival;
pub mod captured;
pub mod command;
pub mod copy;
pub mod detect;
pub mod dial;
pub mod inbound;
pub mod limits;
pub mod live;
pub mod network;
pub mod opaque;
pub mod outbound;
mod peek;
pub mod plaintext;
mod requests;
pub mod rules;
mod secured;
pub mod served;
pub mod socket;
pub mod tunnel;
pub mod worker;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::ClusterStates;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};

use crate::dns::Names;
use crate::telemetry::Telemetry;
use crate::tls::Credentials;
use command::WorkerCommand;
use limits::Limits;
use live::ConnectionView;
use network::PodNetwork;

/// Commands that wait for one worker.
const COMMANDS: usize = 1024;

/// What every worker works with.
#[derive(Clone, Debug)]
pub struct WorkerContext<N> {
    /// Sockets in pods.
    pub network: N,
    /// Configuration.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Certificates.
    pub credentials: Arc<dyn Credentials>,
    /// Counters and access log.
    pub telemetry: Telemetry,
    /// Deadlines and bounds.
    pub limits: Limits,
    /// What names stand for that clusters depend on.
    pub names: Arc<Names>,
}

type ListRequest = oneshot::Sender<Vec<ConnectionView>>;

/// The workers of a process.
#[derive(Debug)]
pub struct Workers {
    commands: Vec<mpsc::Sender<WorkerCommand>>,
    lists: Vec<mpsc::Sender<ListRequest>>,
    threads: Vec<JoinHandle<()>>,
    clusters: Arc<ClusterStates>,
    names: Arc<Names>,
}

/// Starts `count` workers.
///
/// # Errors
/// A thread or its runtime cannot be made.
pub fn spawn_workers<N: PodNetwork>(count: usize, context: &WorkerContext<N>) -> io::Result<Workers> {
    let mut workers = Workers {
        commands: Vec::new(),
        lists: Vec::new(),
        threads: Vec::new(),
        clusters: Arc::default(),
        names: context.names.clone(),
    };
    for number in 0..count {
        let (commands, received) = mpsc::channel(COMMANDS);
        let (lists, asked) = mpsc::channel(4);
        let context = context.clone();
        let shared = (workers.clusters.clone(), workers.names.clone());
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let body =
            move || match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => {
                    drop(ready.send(Ok(())));
                    runtime.block_on(worker::run(context, shared, received, asked));
                }
                Err(error) => drop(ready.send(Err(error))),
            };
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(body)?;
        started.recv().map_err(io::Error::other)??;
        workers.commands.push(commands);
        workers.lists.push(lists);
        workers.threads.push(thread);
    }
    Ok(workers)
}

impl Workers {
    /// Where the datapath sends its commands, one channel per worker.
    pub fn commands(&self) -> Vec<mpsc::Sender<WorkerCommand>> {
        self.commands.clone()
    }

    /// What they have learned of clusters together.
    pub fn clusters(&self) -> Arc<ClusterStates> {
        self.clusters.clone()
    }

    /// What names stand for that their clusters depend on.
    pub fn names(&self) -> Arc<Names> {
        self.names.clone()
    }

    /// The live tables of all workers.
    pub async fn connections(&self) -> Vec<ConnectionView> {
        let mut all = Vec::new();
        for lists in &self.lists {
            let (reply, answer) = oneshot::channel();
            if lists.send(reply).await.is_ok()
                && let Ok(connections) = answer.await
            {
                all.extend(connections);
            }
        }
        all
    }

    /// Tells every worker to drain.
    pub async fn drain(&self) {
        for commands in &self.commands {
            // A worker that has ended has drained.
            drop(commands.send(WorkerCommand::Drain).await);
        }
    }

    /// Waits for every worker's end; blocks the calling thread.
    pub fn join(self) {
        let Self { commands, lists, threads, clusters: _, names: _ } = self;
        drop((commands, lists));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}
