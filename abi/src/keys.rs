//! Keys of the maps that are not an address or a tuple.

use crate::address::{Address, Endpoint};

/// One end of a connection in one network namespace: key of `ORIG_DST` and `PEERS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketKey {
    cookie: u64,
    local: Endpoint,
    zero: u32,
}

impl SocketKey {
    /// The socket that is bound to `local` in the namespace of this cookie.
    #[inline(always)]
    pub const fn new(cookie: u64, local: Endpoint) -> Self {
        Self { cookie, local, zero: 0 }
    }

    /// Of the network namespace.
    pub const fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Its own end.
    pub const fn local(&self) -> &Endpoint {
        &self.local
    }
}

/// What a listener in `LISTENERS` is for.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Port 15006.
    Plaintext = 1,
    /// Port 15008.
    Tunnel = 2,
}

/// Key of `LISTENERS`; sk_lookup knows no namespace cookie, so the pod's address stands for the pod.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    address: Address,
    kind: u32,
}

impl ListenerKey {
    /// The listener of a kind at a pod's address.
    #[inline(always)]
    pub const fn new(address: Address, kind: ListenerKind) -> Self {
        Self { address, kind: kind as u32 }
    }

    /// The pod's address.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The number of its [`ListenerKind`].
    pub const fn kind(&self) -> u32 {
        self.kind
    }
}

/// Key of `PORT_MODES`: a port with a mode of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortKey {
    ifindex: u32,
    /// Network order.
    port: u16,
    zero: u16,
}

impl PortKey {
    /// A port (host order) of the pod behind a host interface.
    #[inline(always)]
    pub const fn new(ifindex: u32, port: u16) -> Self {
        Self { ifindex, port: port.to_be(), zero: 0 }
    }

    /// Host side of the pod's veth.
    #[inline(always)]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// In host order.
    #[inline(always)]
    pub const fn port(&self) -> u16 {
        u16::from_be(self.port)
    }
}

/// Key of `POD_DROPS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DropKey {
    ifindex: u32,
    reason: u32,
}

impl DropKey {
    /// Drops of one pod for one reason.
    #[inline(always)]
    pub const fn new(ifindex: u32, reason: crate::Reason) -> Self {
        Self { ifindex, reason: reason as u32 }
    }

    /// Host side of the pod's veth.
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The number of its [`crate::Reason`].
    pub const fn reason(&self) -> u32 {
        self.reason
    }
}
