//! Values of the maps.

use crate::address::{Address, Endpoint};
use crate::keys::PortKey;

/// Value of `PODS`: an enrolled pod, by the cookie of its network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodEntry {
    /// Zero: the pod has no listener of this family.
    v4: Address,
    v6: Address,
    host_ifindex: u32,
    zero: u32,
    generation: u64,
    captured_at: u64,
    seal: u64,
}

impl PodEntry {
    /// A pod behind a host interface, at no address, captured at `captured_at` (ns since boot) by a generation.
    pub const fn new(cookie: u64, host_ifindex: u32, generation: u64, captured_at: u64) -> Self {
        let zero = Address::ZERO;
        Self { v4: zero, v6: zero, host_ifindex, zero: 0, generation, captured_at, seal: 0 }.sealed(cookie)
    }

    /// The same pod with these addresses; [`Address::ZERO`] for a family that it lacks.
    pub const fn at(self, cookie: u64, v4: Address, v6: Address) -> Self {
        Self { v4, v6, ..self }.sealed(cookie)
    }

    const fn sealed(self, cookie: u64) -> Self {
        Self { seal: self.seal_for(cookie), ..self }
    }

    /// Its IPv4 address, or zero.
    #[inline(always)]
    pub const fn v4(&self) -> &Address {
        &self.v4
    }

    /// Its IPv6 address, or zero.
    #[inline(always)]
    pub const fn v6(&self) -> &Address {
        &self.v6
    }

    /// Host side of its veth.
    #[inline(always)]
    pub const fn host_ifindex(&self) -> u32 {
        self.host_ifindex
    }

    /// Of the snapshot that enrolled it.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// When its connects began to be captured, in ns since boot (CLOCK_MONOTONIC).
    #[inline(always)]
    pub const fn captured_at(&self) -> u64 {
        self.captured_at
    }
}

/// Who a marked socket belongs to, and what it is for.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// The agent's dial to a peer's port 15008.
    Tunnel = 1,
    /// The agent's dial in clear, out of the mesh.
    Passthrough = 2,
    /// The agent's dial to the pod's application.
    Application = 3,
    /// A probe of the kubelet.
    Probe = 4,
    /// The application's own, whose `connect` had begun when its pod was captured: leaves as it would have.
    Earlier = 5,
    /// One of the agent's listeners in a pod.
    Listener = 6,
}

/// Value of `AGENT_SOCKETS` (sk_storage): a socket that capture leaves alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentSocket {
    kind: u32,
    client: Endpoint,
}

impl AgentSocket {
    /// `client` is what the application shall see as its peer; [`Endpoint::ZERO`] for the other kinds.
    #[inline(always)]
    pub const fn new(kind: SocketKind, client: Endpoint) -> Self {
        Self { kind: kind as u32, client }
    }

    /// The number of its [`SocketKind`].
    #[inline(always)]
    pub const fn kind(&self) -> u32 {
        self.kind
    }

    /// The real client.
    #[inline(always)]
    pub const fn client(&self) -> &Endpoint {
        &self.client
    }
}

/// Which end of a connection shows another peer than it has.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownPeerKind {
    /// A captured client: it dialled this.
    Dialled = 1,
    /// An application that the agent dialled: its real client is this.
    Client = 2,
}

/// Value of `SHOWN_PEERS` (sk_storage): what `getpeername` says.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownPeer {
    kind: u32,
    peer: Endpoint,
}

impl ShownPeer {
    /// A socket whose peer shall look like this.
    #[inline(always)]
    pub const fn new(kind: ShownPeerKind, peer: Endpoint) -> Self {
        Self { kind: kind as u32, peer }
    }

    /// The number of its [`ShownPeerKind`].
    #[inline(always)]
    pub const fn kind(&self) -> u32 {
        self.kind
    }

    /// What is shown.
    #[inline(always)]
    pub const fn peer(&self) -> &Endpoint {
        &self.peer
    }
}

/// What was decided about a tuple before its SYN left.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The agent dials.
    Agent = 1,
    /// The kubelet probes: straight to the application.
    Probe = 2,
    /// The application dialled before its pod was captured.
    Earlier = 3,
}

/// Value of `TUPLES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TupleEntry {
    verdict: u32,
    zero: u32,
    /// In ns since boot (CLOCK_MONOTONIC); 0: until it is withdrawn.
    until: u64,
}

impl TupleEntry {
    /// A published tuple.
    #[inline(always)]
    pub const fn new(verdict: Verdict, until: u64) -> Self {
        Self { verdict: verdict as u32, zero: 0, until }
    }

    /// The number of its [`Verdict`].
    #[inline(always)]
    pub const fn verdict(&self) -> u32 {
        self.verdict
    }

    /// See the field.
    #[inline(always)]
    pub const fn until(&self) -> u64 {
        self.until
    }
}

/// What a pod's port takes. Any other number counts as STRICT.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MtlsMode {
    /// Plaintext; at the guard the same as [`MtlsMode::Permissive`].
    Disable = 1,
    /// Both.
    Permissive = 2,
    /// The tunnel only.
    Strict = 3,
}

impl MtlsMode {
    /// Whether a number from a map lets plaintext in.
    #[inline(always)]
    pub const fn admits_plaintext(number: u32) -> bool {
        number == Self::Disable as u32 || number == Self::Permissive as u32
    }
}

/// What a pod may begin by itself. Any other number counts as [`Egress::Captured`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// Everything: it is on its way in or out, and not every `connect` of it is captured.
    Open = 1,
    /// What the agent or a verdict published.
    Captured = 2,
}

/// Value of `PORT_MODES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortEntry {
    mode: u32,
    zero: u32,
    seal: u64,
}

impl PortEntry {
    /// What the port of this key takes.
    pub const fn new(key: PortKey, mode: MtlsMode) -> Self {
        let entry = Self { mode: mode as u32, zero: 0, seal: 0 };
        Self { seal: entry.seal_for(key), ..entry }
    }

    /// The number of its [`MtlsMode`].
    #[inline(always)]
    pub const fn mode(&self) -> u32 {
        self.mode
    }
}

/// Value of `GUARDS`: the pod behind a host interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardEntry {
    v4: Address,
    v6: Address,
    mode: u32,
    egress: u32,
    seal: u64,
}

impl GuardEntry {
    /// A pod with these addresses ([`Address::ZERO`] for a family that it lacks) and this mode where no port says
    /// otherwise, captured.
    pub const fn new(ifindex: u32, v4: Address, v6: Address, mode: MtlsMode) -> Self {
        let egress = Egress::Captured as u32;
        Self { v4, v6, mode: mode as u32, egress, seal: 0 }.sealed(ifindex)
    }

    /// The same pod, with another egress.
    pub const fn with(self, ifindex: u32, egress: Egress) -> Self {
        Self { egress: egress as u32, ..self }.sealed(ifindex)
    }

    const fn sealed(self, ifindex: u32) -> Self {
        Self { seal: self.seal_for(ifindex), ..self }
    }

    /// Whether connections that nobody published may leave.
    #[inline(always)]
    pub const fn is_open(&self) -> bool {
        self.egress == Egress::Open as u32
    }

    /// Its IPv4 address, or zero.
    #[inline(always)]
    pub const fn v4(&self) -> &Address {
        &self.v4
    }

    /// Its IPv6 address, or zero.
    #[inline(always)]
    pub const fn v6(&self) -> &Address {
        &self.v6
    }

    /// The number of its [`MtlsMode`].
    #[inline(always)]
    pub const fn mode(&self) -> u32 {
        self.mode
    }
}
