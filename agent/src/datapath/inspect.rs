//! What the kernel holds, for people: programs, maps with their entries decoded, refusals by reason and by pod.

use std::io;
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::MapInfo;
use heddle_abi::{Plain, Reason};
use serde::Serialize;

use super::endpoint::{ip, socket_addr};
use super::kernel::{Kernel, guard_pins};
use super::maps::NAMES;
use super::table::Table;

/// Entries shown of one map.
const SHOWN: usize = 256;
/// Entries counted of one map.
const COUNTED: usize = 1 << 16;

/// A loaded program.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramView {
    /// As `bpftool prog` shows it.
    pub name: String,
    /// Program type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Kernel id.
    pub id: u32,
    /// Pins of its links.
    pub attached: Vec<String>,
    /// Instructions that the verifier walked.
    pub verified: u32,
}

impl ProgramView {
    /// Every program of the object.
    pub(super) fn all(object: &Ebpf) -> Vec<Self> {
        let view = |(name, program): (&str, &aya::programs::Program)| {
            let info = program.info().ok();
            Self {
                name: name.to_owned(),
                kind: format!("{:?}", program.prog_type()),
                id: info.as_ref().map_or(0, aya::programs::ProgramInfo::id),
                attached: Vec::new(),
                verified: info.and_then(|info| info.verified_instruction_count()).unwrap_or_default(),
            }
        };
        object.programs().map(view).collect()
    }
}

/// A map and what is in it.
#[derive(Clone, Debug, Serialize)]
pub struct MapView {
    /// As `bpftool map` shows it.
    pub name: String,
    /// Map type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Entries now; of a socket storage and of listeners not known or counted by key.
    pub entries: usize,
    /// Entries that fit.
    pub max: u32,
    /// The first of them, readable.
    pub decoded: Vec<String>,
}

/// Refusals for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DropCount {
    /// Why.
    pub reason: &'static str,
    /// connect, lookup, to-pod or from-pod.
    #[serde(rename = "where")]
    pub direction: &'static str,
    /// How many since the maps were made.
    pub count: u64,
}

/// Refusals of one pod, by the host side of its veth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PodDropCount {
    /// Host side of its veth: `Pod::host_ifindex`.
    pub host_ifindex: u32,
    /// Why and where.
    #[serde(flatten)]
    pub drops: DropCount,
}

/// Reads the kernel side; cheap to clone. Every call is system calls only: no lock, no wait.
#[derive(Clone, Debug)]
pub struct Inspector {
    kernel: Arc<Kernel>,
}

impl Inspector {
    pub(super) fn new(kernel: Arc<Kernel>) -> Self {
        Self { kernel }
    }

    /// Refusals by reason: every reason, also those that never happened.
    pub fn drops(&self) -> Vec<DropCount> {
        let count = |reason: Reason| {
            let count = self.kernel.maps.counters.sum(&(reason as u32)).unwrap_or_default();
            DropCount { reason: reason.name(), direction: reason.direction().name(), count }
        };
        Reason::ALL.iter().map(|reason| count(*reason)).collect()
    }

    /// Refusals by pod and reason: those that happened.
    pub fn pod_drops(&self) -> io::Result<Vec<PodDropCount>> {
        let drops = &self.kernel.maps.pod_drops;
        let mut found = Vec::new();
        for key in drops.keys(COUNTED)? {
            let Some(reason) = Reason::from_number(key.reason()) else { continue };
            let (reason, direction) = (reason.name(), reason.direction().name());
            let drops = DropCount { reason, direction, count: drops.sum(&key)? };
            found.push(PodDropCount { host_ifindex: key.ifindex(), drops });
        }
        Ok(found)
    }

    /// The programs and what they are attached to.
    pub fn programs(&self) -> io::Result<Vec<ProgramView>> {
        let mut links = self.kernel.pins.link_names()?;
        if !self.kernel.tcx {
            // A clsact filter has no pin; it goes by the name that a tcx link would have.
            let guards = self.kernel.maps.guards.keys(COUNTED)?;
            links.extend(guards.into_iter().flat_map(|ifindex| <[String; 2]>::from(guard_pins(ifindex))));
        }
        let attached = |program: &str| links.iter().filter(|link| runs(program, link)).cloned().collect();
        let mut programs = self.kernel.programs.clone();
        for program in &mut programs {
            program.attached = attached(&program.name);
        }
        Ok(programs)
    }

    /// The maps, decoded.
    pub fn maps(&self) -> Vec<MapView> {
        NAMES.iter().filter_map(|name| self.map(name)).collect()
    }

    fn map(&self, name: &str) -> Option<MapView> {
        let info = MapInfo::from_pin(self.kernel.pins.maps().join(name)).ok()?;
        let mut decoded = self.decode(name).unwrap_or_default();
        let entries = decoded.len();
        decoded.truncate(SHOWN);
        Some(MapView {
            name: name.to_owned(),
            kind: info.map_type().map_or_else(|_| "unknown".to_owned(), |kind| format!("{kind:?}")),
            key: info.key_size(),
            value: info.value_size(),
            entries,
            max: info.max_entries(),
            decoded,
        })
    }

    fn decode(&self, name: &str) -> io::Result<Vec<String>> {
        let maps = &self.kernel.maps;
        match name {
            "PODS" => lines(&maps.pods, |cookie, pod| {
                format!("netns {cookie}: {} {} behind {}", ip(pod.v4()), ip(pod.v6()), pod.host_ifindex())
            }),
            "ORIG_DST" | "PEERS" => {
                let table = if name == "PEERS" { &maps.peers } else { &maps.orig_dst };
                lines(table, |key, value| {
                    format!("netns {} {} -> {}", key.cookie(), socket_addr(key.local()), socket_addr(value))
                })
            }
            "TUPLES" => lines(&maps.tuples, |key, value| {
                format!(
                    "{} -> {}: verdict {}",
                    socket_addr(key.source()),
                    socket_addr(key.destination()),
                    value.verdict()
                )
            }),
            "UDP_FLOWS" => lines(&maps.udp_flows, |key, seen| {
                format!("{} -> {}: at {seen} ns", socket_addr(key.source()), socket_addr(key.destination()))
            }),
            "GUARDS" => lines(&maps.guards, |ifindex, guard| {
                let open = if guard.is_open() { " open" } else { "" };
                format!(
                    "interface {ifindex}: {} {} {}{open}",
                    ip(guard.v4()),
                    ip(guard.v6()),
                    mode(guard.mode())
                )
            }),
            "PORT_MODES" => lines(&maps.port_modes, |key, entry| {
                format!("interface {} port {}: {}", key.ifindex(), key.port(), mode(entry.mode()))
            }),
            "LISTENERS" => {
                let kind = |number| if number == 2 { "tunnel" } else { "plaintext" };
                let keys = maps.listeners.keys(COUNTED)?;
                Ok(keys.iter().map(|key| format!("{}: {}", ip(key.address()), kind(key.kind()))).collect())
            }
            "COUNTERS" => {
                let counts = self.drops().into_iter().filter(|drop| drop.count > 0);
                Ok(counts.map(|drop| format!("{} {}: {}", drop.direction, drop.reason, drop.count)).collect())
            }
            "POD_DROPS" => {
                let line = |pod: PodDropCount| {
                    let DropCount { reason, direction, count } = pod.drops;
                    format!("interface {} {direction} {reason}: {count}", pod.host_ifindex)
                };
                Ok(self.pod_drops()?.into_iter().map(line).collect())
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// Which links run a program, by the names of their pins.
fn runs(program: &str, link: &str) -> bool {
    match program {
        "heddle_bind4" => link == "bind4",
        "heddle_bind6" => link == "bind6",
        "heddle_connect4" => link == "connect4",
        "heddle_connect6" => link == "connect6",
        "heddle_peer4" => link == "getpeername4",
        "heddle_peer6" => link == "getpeername6",
        "heddle_sockops" => link == "sockops",
        "heddle_lookup" => link.starts_with("lookup-"),
        "heddle_to_pod" => link.starts_with("guard-") && link.ends_with("-to"),
        "heddle_from_pod" => link.starts_with("guard-") && link.ends_with("-from"),
        _ => false,
    }
}

fn lines<K: Plain, V: Plain>(
    table: &Table<K, V>,
    line: impl Fn(&K, &V) -> String,
) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for key in table.keys(COUNTED)? {
        if let Some(value) = table.get(&key)? {
            lines.push(line(&key, &value));
        }
    }
    Ok(lines)
}

fn mode(number: u32) -> &'static str {
    match number {
        1 => "DISABLE",
        2 => "PERMISSIVE",
        _ => "STRICT",
    }
}
