//! Connects on behalf of a pod: the only place that dials, and it consumes a permit for every application and passthrough.

use std::net::SocketAddr;

use heddle_core::authorize::Permit;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::limits::Limits;
use super::network::{PodNetwork, Purpose};
use super::socket::Socket;
use crate::pod::Pod;
use crate::telemetry::{Failure, Reason};

/// To the pod's own application; it sees `client` as its peer.
///
/// # Errors
/// Nobody listens there, or there is no answer in time.
pub async fn application(
    network: &impl PodNetwork,
    limits: &Limits,
    pod: &Pod,
    permit: Permit,
    client: SocketAddr,
) -> Result<Socket, Failure> {
    connect(network, limits, pod, permit.destination(), Purpose::Application { client }).await
}

/// Out of the mesh, in clear.
///
/// # Errors
/// The destination refuses, or does not answer in time.
pub async fn passthrough(
    network: &impl PodNetwork,
    limits: &Limits,
    pod: &Pod,
    permit: Permit,
) -> Result<Socket, Failure> {
    connect(network, limits, pod, permit.destination(), Purpose::Passthrough).await
}

/// To another pod's tunnel port. Carries nobody yet: each stream on it consumes its own permit.
///
/// # Errors
/// The other pod refuses, or does not answer in time.
pub(super) async fn tunnel(
    network: &impl PodNetwork,
    limits: &Limits,
    pod: &Pod,
    to: SocketAddr,
) -> Result<Socket, Failure> {
    let socket = connect(network, limits, pod, to, Purpose::Tunnel).await?;
    socket.keep_alive().map_err(|error| Failure::new(Reason::Connect, &error))?;
    Ok(socket)
}

async fn connect(
    network: &impl PodNetwork,
    limits: &Limits,
    pod: &Pod,
    to: SocketAddr,
    purpose: Purpose,
) -> Result<Socket, Failure> {
    let room = limits.descriptors.take_for_dial().ok_or(Reason::Descriptors)?;
    let failed = |error: std::io::Error| Failure::new(Reason::Connect, &error);
    let socket = network.dial(pod, to, purpose).map_err(failed)?;
    let stream = TcpStream::from_std(socket.into()).map_err(failed)?;
    match timeout(limits.connect, stream.writable()).await {
        Ok(ready) => ready.map_err(failed)?,
        Err(_elapsed) => return Err(Reason::ConnectTimeout.into()),
    }
    if let Some(error) = stream.take_error().map_err(failed)? {
        return Err(failed(error));
    }
    Socket::new(stream, room).map_err(failed)
}
