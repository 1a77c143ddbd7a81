//! Opens connections to endpoints, each the way that its cluster wants it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use heddle_core::authorize::authorize_outbound;
use heddle_core::upstream::{Endpoint, Transport};
use tokio::time::timeout;

use crate::http::io::Wire;
use crate::pod::Pod;
use crate::telemetry::{Failure, Reason};
use crate::traffic::network::PodNetwork;
use crate::traffic::worker::Worker;
use crate::traffic::{dial, outbound};

/// Opens one on behalf of a pod.
///
/// # Errors
/// The endpoint refuses, is somebody else, or does not answer in time.
pub async fn connect<N: PodNetwork>(
    worker: Rc<Worker<N>>,
    pod: Arc<Pod>,
    endpoint: Arc<Endpoint>,
    client: SocketAddr,
    within: Duration,
) -> Result<Wire, Failure> {
    match timeout(within, Box::pin(open(&worker, &pod, &endpoint, client))).await {
        Ok(opened) => opened,
        Err(_elapsed) => Err(Reason::ConnectTimeout.into()),
    }
}

async fn open<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    pod: &Arc<Pod>,
    endpoint: &Endpoint,
    client: SocketAddr,
) -> Result<Wire, Failure> {
    let snapshot = worker.snapshot();
    let local = worker.rules.of(&pod.uid, &snapshot).ok_or(Reason::PodUnknown)?;
    let permit = authorize_outbound(&snapshot, &local, endpoint.address)?;
    drop(snapshot);
    match (&endpoint.transport, &endpoint.workload) {
        (Transport::Tunnel, Some(workload)) => {
            let source = local.identity.clone();
            let stream = outbound::open(worker, pod, source, workload, permit, client).await?;
            Ok(Wire::Tunnel(stream))
        }
        (Transport::Plain, _) => {
            dial::passthrough(&worker.network, &worker.limits, pod, permit).await.map(Wire::Socket)
        }
        (Transport::Tls { .. }, _) => Err(Failure::new(Reason::Connect, &"TLS origination is not served")),
        (Transport::Tunnel, None) => Err(Failure::new(Reason::Connect, &"the endpoint is not in the mesh")),
        (Transport::Refused(why), _) => Err(Failure::new(Reason::Connect, why)),
    }
}
