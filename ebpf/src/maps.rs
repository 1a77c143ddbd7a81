//! The maps; names fit bpftool's 15 characters, and their keys and values carry BTF.

use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, SkStorage, SockHash};
use aya_ebpf::macros::btf_map;
use heddle_abi::{
    AgentSocket, DropKey, Endpoint, GuardEntry, ListenerKey, PodEntry, PortEntry, PortKey, Reason, ShownPeer,
    SocketKey, Tuple, TupleEntry,
};

/// At 0: cgroup of the kubelet's own processes; 0: none. Another one after a restart of the kubelet.
#[btf_map]
pub static PROBER: Array<u64, 1> = Array::new();

/// Enrolled pods by the cookie of their network namespace; read by [`crate::settled`].
#[btf_map]
pub static PODS: HashMap<u64, PodEntry, 4096> = HashMap::new();

/// Sockets that capture leaves alone; written by the agent through their fd, before connect.
#[btf_map]
pub static AGENT_SOCKETS: SkStorage<AgentSocket> = SkStorage::new();

/// What getpeername says on a captured socket, and on one that the agent dialled.
#[btf_map]
pub static SHOWN_PEERS: SkStorage<ShownPeer> = SkStorage::new();

/// Client's end of a captured connection → what it dialled; taken out by the agent.
#[btf_map]
pub static ORIG_DST: LruHashMap<SocketKey, Endpoint, 65536> = LruHashMap::new();

/// Agent's end of a dial to the application → the real client; moved to the accepted socket.
#[btf_map]
pub static PEERS: LruHashMap<SocketKey, Endpoint, 65536> = LruHashMap::new();

/// Connections whose SYN may cross a guard; published at TCP_CONNECT, gone when established or closed.
#[btf_map]
pub static TUPLES: LruHashMap<Tuple, TupleEntry, 65536> = LruHashMap::new();

/// The agent's in-pod listeners, one of each SO_REUSEPORT group.
#[btf_map]
pub static LISTENERS: SockHash<ListenerKey, 16384> = SockHash::new();

/// Guarded pods by the host side of their veth; read by [`crate::settled`].
#[btf_map]
pub static GUARDS: HashMap<u32, GuardEntry, 4096> = HashMap::new();

/// Ports with a mode of their own; read by [`crate::settled`].
#[btf_map]
pub static PORT_MODES: HashMap<PortKey, PortEntry, 65536> = HashMap::new();

/// UDP that pods sent, as they sent it → when (ns since boot).
#[btf_map]
pub static UDP_FLOWS: LruHashMap<Tuple, u64, 65536> = LruHashMap::new();

/// Refusals by reason.
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { Reason::COUNT }> = PerCpuArray::new();

/// Refusals by pod and reason.
#[btf_map]
pub static POD_DROPS: PerCpuHashMap<DropKey, u64, 32768> = PerCpuHashMap::new();
