//! What traffic needs from a pod's network: where a captured client was going, and sockets that connect from the pod.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use heddle_core::names::OrigDst;

use crate::pod::Pod;

/// Why a socket is dialled: decides how capture and guard treat it, and what the application sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To port 15008 of another pod.
    Tunnel,
    /// To a destination outside the mesh, in clear.
    Passthrough,
    /// To an application in the pod itself, from the pod's own address; its `getpeername` shows `client`.
    Application {
        /// The real client. A port of 0 means that it is not known.
        client: SocketAddr,
    },
}

/// One node's pods, as sockets. The datapath implements it over eBPF and namespaces, the tests over loopback.
pub trait PodNetwork: Clone + fmt::Debug + Send + Sync + Unpin + 'static {
    /// Where the connection that came to the pod's port 15001 from `client` was going.
    /// Looks the entry up and deletes it; `None` for a connection that capture did not bring.
    fn original_destination(&self, pod: &Pod, client: SocketAddr) -> Option<OrigDst>;

    /// Makes a non-blocking TCP socket in the pod's network namespace, marks it as the agent's own, and begins to
    /// connect it; a connect that is still in progress is `Ok`. Only [`super::dial`] calls this, with a permit in
    /// hand, and a pod's resolver.
    ///
    /// # Errors
    /// No socket could be made or marked, or the connect failed at once.
    fn dial(&self, pod: &Pod, to: SocketAddr, purpose: Purpose) -> io::Result<socket2::Socket>;

    /// Makes a non-blocking UDP socket in the pod's network namespace, for what its resolver would ask.
    ///
    /// # Errors
    /// No socket could be made or bound.
    fn datagrams(&self, pod: &Pod, local: SocketAddr) -> io::Result<socket2::Socket>;
}
