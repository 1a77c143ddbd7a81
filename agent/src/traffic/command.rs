//! What a worker is told: pods to serve, pods that are gone, and the end.

use std::net::TcpListener;
use std::sync::Arc;

use heddle_core::names::PodUid;

use crate::pod::Pod;

/// One order to one worker. The queues are bounded and in order, one per worker.
#[derive(Debug)]
pub enum WorkerCommand {
    /// Accept connections of this pod. For a pod that is served already, these listeners replace its earlier ones.
    Serve(PodListeners),
    /// The pod has left the mesh and runs on: what was captured or steered a moment ago is still accepted, and
    /// connections end by themselves.
    Release(PodUid),
    /// The pod is gone: close its listeners, connections and tunnels.
    Stop(PodUid),
    /// Stop accepting, let connections finish until the drain deadline, then close the rest and end.
    Drain,
}

/// A pod and one worker's share of its in-pod listeners: non-blocking, in one `SO_REUSEPORT` group over all workers.
#[derive(Debug)]
pub struct PodListeners {
    /// Whose they are: the identity of every flow that they accept.
    pub pod: Arc<Pod>,
    /// Port 15001: captured outbound connections, per address family.
    pub outbound: Vec<TcpListener>,
    /// Port 15006: plaintext from the wire. The local address of an accepted connection is what the client dialled.
    pub plaintext: Vec<TcpListener>,
    /// Port 15008: the tunnel.
    pub tunnel: Vec<TcpListener>,
}
