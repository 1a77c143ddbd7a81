//! The in-pod listeners: bound in the pod's namespace, one member of each SO_REUSEPORT group per worker.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use heddle_abi::{AGENT_PORTS, AgentSocket, Endpoint, SocketKind};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::diag::{self, StateFlags};
use super::table::Table;
use super::{OUTBOUND_PORT, PLAINTEXT_PORT, PodListeners, TUNNEL_PORT, netns};
use crate::pod::Pod;

/// Connections that wait to be accepted; beyond it SYNs wait in the client.
const BACKLOG: i32 = 1024;

/// `AGENT_SOCKETS`, by which the bind programs know the agent.
type Marks = Table<u32, AgentSocket>;

/// Opens one set per worker.
pub(super) fn open(pod: &Arc<Pod>, workers: usize, marks: &Marks) -> io::Result<Vec<PodListeners>> {
    netns::inside(pod.netns.as_fd(), || (0..workers).map(|_| open_set(pod, marks)).collect())?
}

/// An application that listens on one of the agent's ports shares what comes there, or takes it. At loopback addresses
/// nothing of the agent's does.
pub(super) fn refuse_strangers(pod: &Pod, own_cgroup: u64) -> Result<(), String> {
    let listening = netns::inside(pod.netns.as_fd(), || diag::sockets(StateFlags::LISTEN))
        .and_then(|listening| listening)
        .map_err(|error| format!("listeners of the pod: {error}"))?;
    let stranger = listening.iter().find(|socket| {
        let id = &socket.header.socket_id;
        let agents = diag::owner(socket) == Some(own_cgroup);
        AGENT_PORTS.contains(&id.source_port) && !id.source_address.to_canonical().is_loopback() && !agents
    });
    let Some(stranger) = stranger else { return Ok(()) };
    let port = stranger.header.socket_id.source_port;
    Err(format!("a process of the pod listens on port {port}, which is the agent's in an enrolled pod"))
}

fn open_set(pod: &Arc<Pod>, marks: &Marks) -> io::Result<PodListeners> {
    let at = |port| pod.addresses.iter().map(|ip| listen(*ip, port, marks)).collect::<io::Result<Vec<_>>>();
    Ok(PodListeners {
        pod: pod.clone(),
        outbound: at(OUTBOUND_PORT)?,
        plaintext: at(PLAINTEXT_PORT)?,
        tunnel: at(TUNNEL_PORT)?,
    })
}

fn listen(ip: IpAddr, port: u16, marks: &Marks) -> io::Result<TcpListener> {
    let domain = if ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    marks
        .put(&socket.as_raw_fd().cast_unsigned(), &AgentSocket::new(SocketKind::Listener, Endpoint::ZERO))?;
    let address = SocketAddr::new(ip, port);
    let refused = |error: io::Error| io::Error::new(error.kind(), format!("listen on {address}: {error}"));
    socket.bind(&SockAddr::from(address)).map_err(refused)?;
    socket.listen(BACKLOG).map_err(refused)?;
    Ok(socket.into())
}
