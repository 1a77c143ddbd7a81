//! A pod that exists on this node: one value per incarnation, shared by everything that serves it.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use heddle_core::names::PodUid;

/// What the kernel calls a network namespace for as long as it runs: never reused before a reboot.
/// Source: `getsockopt(SOL_SOCKET, SO_NETNS_COOKIE)`, Linux 5.14.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsCookie(pub u64);

impl fmt::Display for NetnsCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A pod, as its local record describes it and as the kernel confirmed it.
#[derive(Debug)]
pub struct Pod {
    /// The identity of this incarnation.
    pub uid: PodUid,
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Pod name.
    pub name: Arc<str>,
    /// Kubernetes service account.
    pub service_account: Arc<str>,
    /// Its addresses, in order of preference; each was found in its namespace.
    pub addresses: Box<[IpAddr]>,
    /// Key of the pod in every kernel map.
    pub cookie: NetnsCookie,
    /// Holds the namespace for as long as anything of the pod is open.
    pub netns: OwnedFd,
    /// Host side of the pod's veth, where the guard stands.
    pub host_ifindex: u32,
}

impl Pod {
    /// The pod's own address of the family of `other`.
    pub fn address_like(&self, other: IpAddr) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == other.to_canonical().is_ipv4())
    }

    /// Whether the address is one of the pod's own.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address.to_canonical())
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
