//! Opens connections to endpoints, each the way that its cluster wants it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use heddle_core::authorize::authorize_outbound;
use heddle_core::upstream::{Endpoint, Transport};
use tokio::time::timeout;

use super::bounds::Speak;
use crate::http::io::Wire;
use crate::pod::Pod;
use crate::telemetry::{Failure, Reason};
use crate::traffic::network::PodNetwork;
use crate::traffic::socket::Keepalive;
use crate::traffic::worker::Worker;
use crate::traffic::{dial, outbound};

/// What a connection is wanted for.
#[derive(Clone, Debug)]
pub struct How {
    /// For whom; a port of 0 is nobody's in particular.
    pub client: SocketAddr,
    /// Until it must be there.
    pub within: Duration,
    /// Of the cluster.
    pub host: Arc<str>,
    /// What will be spoken.
    pub speak: Speak,
    /// Of a connection of its own: a tunnel is kept alive for all that it carries.
    pub keepalive: Option<Keepalive>,
}

/// Opens one on behalf of a pod.
///
/// # Errors
/// The endpoint refuses, is somebody else, or does not answer in time.
pub async fn connect<N: PodNetwork>(
    worker: Rc<Worker<N>>,
    pod: Arc<Pod>,
    endpoint: Arc<Endpoint>,
    how: How,
) -> Result<Wire, Failure> {
    match timeout(how.within, Box::pin(open(&worker, &pod, &endpoint, &how))).await {
        Ok(opened) => opened,
        Err(_elapsed) => Err(Reason::ConnectTimeout.into()),
    }
}

async fn open<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    pod: &Arc<Pod>,
    endpoint: &Endpoint,
    how: &How,
) -> Result<Wire, Failure> {
    let snapshot = worker.snapshot();
    let local = worker.rules.of(&pod.uid, &snapshot).ok_or(Reason::PodUnknown)?;
    let permit = authorize_outbound(&snapshot, &local, endpoint.address)?;
    drop(snapshot);
    if let Transport::Refused(why) = &endpoint.transport {
        return Err(Failure::new(Reason::Connect, why));
    }
    let wire = if endpoint.transport.tunnels() {
        let not_there = || Failure::new(Reason::Connect, &"the endpoint is not in the mesh");
        let workload = endpoint.workload.as_ref().ok_or_else(not_there)?;
        let source = local.identity.clone();
        Wire::Tunnel(outbound::open(worker, pod, source, workload, permit, how.client).await?)
    } else {
        let socket = dial::passthrough(&worker.network, &worker.limits, pod, permit).await?;
        if let Some(keepalive) = how.keepalive {
            socket.keep_alive_as(keepalive).map_err(|error| Failure::new(Reason::Connect, &error))?;
        }
        Wire::Socket(socket)
    };
    let Transport::Tls { tls, .. } = &endpoint.transport else { return Ok(wire) };
    let originator = &worker.http.tls;
    Ok(Wire::Tls(originator.originate(wire, tls, &how.host, Some(how.speak)).await?))
}
