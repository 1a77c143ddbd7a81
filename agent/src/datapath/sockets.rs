//! Per-connection kernel services: what the application dialled, and dials from inside a pod.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use heddle_abi::{AgentSocket, Endpoint, OUTBOUND_PORT, PLAINTEXT_PORT, SocketKey, SocketKind, TUNNEL_PORT};
use heddle_core::names::OrigDst;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::endpoint::{endpoint, socket_addr};
use super::netns;
use super::table::Table;
use crate::pod::Pod;
use crate::traffic::network::{PodNetwork, Purpose};

/// Cheap to clone, usable from every worker.
#[derive(Clone, Debug)]
pub struct Sockets {
    pub(super) original: Table<SocketKey, Endpoint>,
    /// Key: a socket's descriptor.
    pub(super) marks: Table<u32, AgentSocket>,
}

impl PodNetwork for Sockets {
    fn original_destination(&self, pod: &Pod, client: SocketAddr) -> Option<OrigDst> {
        let key = SocketKey::new(pod.cookie.0, endpoint(client));
        match self.original.take(&key) {
            Ok(dialled) => dialled.map(|dialled| OrigDst(socket_addr(&dialled))),
            Err(error) => {
                tracing::warn!(%error, pod = %pod, "cannot read an original destination; the connection is refused");
                None
            }
        }
    }

    fn dial(&self, pod: &Pod, to: SocketAddr, purpose: Purpose) -> io::Result<Socket> {
        if is_own_listener(pod, to, purpose) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the agent's own port"));
        }
        let family = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = netns::inside(pod.netns.as_fd(), || Socket::new(family, kind, Some(Protocol::TCP)))??;
        self.marks.put(&socket.as_raw_fd().cast_unsigned(), &mark(to, purpose))?;
        match socket.connect(&SockAddr::from(to)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    }

    fn datagrams(&self, pod: &Pod, local: SocketAddr) -> io::Result<Socket> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        netns::inside(pod.netns.as_fd(), || {
            let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::UDP))?;
            socket.bind(&SockAddr::from(local))?;
            Ok(socket)
        })?
    }
}

fn mark(to: SocketAddr, purpose: Purpose) -> AgentSocket {
    match purpose {
        Purpose::Tunnel => AgentSocket::new(SocketKind::Tunnel, Endpoint::ZERO),
        Purpose::Passthrough => AgentSocket::new(SocketKind::Passthrough, Endpoint::ZERO),
        Purpose::Application { client } => {
            let client = SocketAddr::new(client.ip().to_canonical(), client.port());
            // An IPv4 socket cannot show an IPv6 peer, nor the other way round: then it shows the pod itself.
            let shown = if client.is_ipv4() == to.is_ipv4() { endpoint(client) } else { Endpoint::ZERO };
            AgentSocket::new(SocketKind::Application, shown)
        }
    }
}

/// A dial to the pod's own listeners would come back to the agent, and again; only a tunnel to oneself has an end.
fn is_own_listener(pod: &Pod, to: SocketAddr, purpose: Purpose) -> bool {
    let own = pod.owns(to.ip()) || to.ip().is_loopback();
    let port = to.port();
    own && (port == OUTBOUND_PORT
        || port == PLAINTEXT_PORT
        || (port == TUNNEL_PORT && purpose != Purpose::Tunnel))
}
