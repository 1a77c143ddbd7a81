//! The maps that the agent reads and writes, by the names that `bpftool map` shows.

use std::path::Path;

use heddle_abi::{
    AgentSocket, DropKey, Endpoint, GuardEntry, ListenerKey, Plain, PodEntry, PortEntry, PortKey, SocketKey,
    Tuple, TupleEntry,
};

use super::error::{DatapathError, doing};
use super::table::Table;

/// Every map of the object.
pub(super) const NAMES: &[&str] = &[
    "PODS",
    "AGENT_SOCKETS",
    "SHOWN_PEERS",
    "ORIG_DST",
    "PEERS",
    "TUPLES",
    "LISTENERS",
    "GUARDS",
    "PORT_MODES",
    "UDP_FLOWS",
    "COUNTERS",
    "POD_DROPS",
    "PROBER",
];

/// Open maps.
#[derive(Clone, Debug)]
pub(super) struct Maps {
    pub(super) pods: Table<u64, PodEntry>,
    pub(super) agent_sockets: Table<u32, AgentSocket>,
    pub(super) orig_dst: Table<SocketKey, Endpoint>,
    pub(super) peers: Table<SocketKey, Endpoint>,
    pub(super) tuples: Table<Tuple, TupleEntry>,
    /// Value: a listening socket's descriptor.
    pub(super) listeners: Table<ListenerKey, u32>,
    pub(super) guards: Table<u32, GuardEntry>,
    pub(super) port_modes: Table<PortKey, PortEntry>,
    pub(super) udp_flows: Table<Tuple, u64>,
    pub(super) counters: Table<u32, u64>,
    pub(super) pod_drops: Table<DropKey, u64>,
    /// At 0: the kubelet's cgroup.
    pub(super) prober: Table<u32, u64>,
}

impl Maps {
    /// Opens what the loader pinned.
    pub(super) fn open(folder: &Path) -> Result<Self, DatapathError> {
        Ok(Self {
            pods: table(folder, "PODS")?,
            agent_sockets: table(folder, "AGENT_SOCKETS")?,
            orig_dst: table(folder, "ORIG_DST")?,
            peers: table(folder, "PEERS")?,
            tuples: table(folder, "TUPLES")?,
            listeners: table(folder, "LISTENERS")?,
            guards: table(folder, "GUARDS")?,
            port_modes: table(folder, "PORT_MODES")?,
            udp_flows: table(folder, "UDP_FLOWS")?,
            counters: table(folder, "COUNTERS")?,
            pod_drops: table(folder, "POD_DROPS")?,
            prober: table(folder, "PROBER")?,
        })
    }
}

fn table<K: Plain, V: Plain>(folder: &Path, name: &str) -> Result<Table<K, V>, DatapathError> {
    Table::open(&folder.join(name)).map_err(doing(format!("map {name}")))
}
