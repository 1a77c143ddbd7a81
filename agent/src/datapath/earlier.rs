//! Connects that had begun when their pod was captured: their SYNs may still leave.
//!
//! A `connect` whose hook ran before the pod was in `PODS` is either in SYN_SENT by now, and published here, or it has not
//! come to its SYN, and sockops publishes it when it does. Both are good for as long as TCP tries.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use heddle_abi::{Tuple, TupleEntry, Verdict};

use super::diag::{self, StateFlags};
use super::endpoint::endpoint;
use super::maps::Maps;
use super::netns;
use crate::pod::Pod;

/// Six retransmissions, the first after a second: `tcp_syn_retries`.
const TRYING: Duration = Duration::from_secs(127);

/// Publishes what the pod is dialling at this moment. Call it once the pod is captured, before its guard closes.
pub(super) fn publish(maps: &Maps, pod: &Pod) -> io::Result<usize> {
    let dialling = netns::inside(pod.netns.as_fd(), || diag::sockets(StateFlags::SYN_SENT))??;
    let until = now()? + u64::try_from(TRYING.as_nanos()).map_err(io::Error::other)?;
    let mut published = 0;
    for socket in dialling {
        let id = &socket.header.socket_id;
        let end = |ip: std::net::IpAddr, port| endpoint(SocketAddr::new(ip, port));
        let from = end(id.source_address, id.source_port);
        let to = end(id.destination_address, id.destination_port);
        let tuple = Tuple::new(from, to);
        // The agent's own dials are published already, for another reason.
        if pod.owns(id.destination_address) || maps.tuples.get(&tuple)?.is_some() {
            continue;
        }
        maps.tuples.put(&tuple, &TupleEntry::new(Verdict::Earlier, until))?;
        published += 1;
    }
    Ok(published)
}

/// As `bpf_ktime_get_ns` has it.
pub(super) fn now() -> io::Result<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_err(io::Error::from)?;
    u64::try_from(Duration::from(now).as_nanos()).map_err(io::Error::other)
}
