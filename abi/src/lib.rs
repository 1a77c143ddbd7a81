//! What the kernel programs and the agent agree on: keys and values of every map, and why a packet was refused.
//!
//! ```text
//! ebpf/ ── address ── keys ── values ── seal ── reason ── agent/src/datapath
//! ```
//!
//! Every type is `#[repr(C)]`, of fixed width, without implicit padding; addresses and ports are in network order, IPv4
//! is stored v4-mapped. Any change of a layout or a meaning bumps [`ABI_VERSION`]: pinned maps of another version are
//! never re-used, because the folder of the pins carries the number.
#![no_std]

mod address;
mod keys;
mod reason;
mod seal;
mod values;

pub use address::{Address, Endpoint, Tuple};
pub use keys::{DropKey, ListenerKey, ListenerKind, PortKey, SocketKey};
pub use reason::{Direction, Reason};
pub use seal::Sealed;
pub use values::{
    AgentSocket, Egress, GuardEntry, MtlsMode, PodEntry, PortEntry, ShownPeer, ShownPeerKind, SocketKind,
    TupleEntry, Verdict,
};

/// Changes with every layout and every meaning.
pub const ABI_VERSION: u32 = 4;

/// In every enrolled pod: captured outbound connections.
pub const OUTBOUND_PORT: u16 = 15001;
/// In every enrolled pod: inbound connections from outside the mesh.
pub const PLAINTEXT_PORT: u16 = 15006;
/// In every enrolled pod: the tunnel.
pub const TUNNEL_PORT: u16 = 15008;

/// The ports of an enrolled pod that are the agent's alone.
pub const AGENT_PORTS: [u16; 3] = [OUTBOUND_PORT, PLAINTEXT_PORT, TUNNEL_PORT];

/// A type that is nothing but its bytes.
///
/// # Safety
///
/// Every bit pattern of `size_of::<Self>()` bytes is a valid value, and the type has no padding.
pub unsafe trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($name:ident = $size:literal),+ $(,)?) => {$(
        const _: () = assert!(size_of::<$name>() == $size, stringify!($name));
        // SAFETY: made of integers only, and the size asserted above is the sum of its fields'.
        unsafe impl Plain for $name {}
    )+};
}

plain! {
    Address = 16, Endpoint = 20, Tuple = 40,
    SocketKey = 32, ListenerKey = 20, PortKey = 8, DropKey = 8,
    PodEntry = 64, AgentSocket = 24, ShownPeer = 24, TupleEntry = 16, GuardEntry = 48, PortEntry = 16,
}
// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: integers.
unsafe impl Plain for u64 {}

#[cfg(test)]
mod tests;
