//! What the kernel has and nobody wants: left by an agent that died, or by a pod that went while no agent ran.

use std::collections::HashSet;
use std::io;

use super::capture::Capture;
use super::kernel::{guard_pins, lookup_pin, node_links};
use super::modes;
use crate::pod::{NetnsCookie, Pod};

/// Removes every entry and link that belongs to none of `wanted`.
pub(super) fn remove_all_but<'a>(
    capture: &Capture,
    wanted: impl Iterator<Item = &'a Pod>,
) -> Result<(), String> {
    let (mut cookies, mut interfaces) = (HashSet::new(), HashSet::new());
    let mut links: HashSet<String> = node_links().map(str::to_owned).collect();
    for pod in wanted {
        cookies.insert(pod.cookie.0);
        interfaces.insert(pod.host_ifindex);
        let (to, from) = guard_pins(pod.host_ifindex);
        links.extend([to, from, lookup_pin(pod.cookie)]);
    }
    let failed = |error: io::Error| format!("stale kernel state: {error}");
    let kernel = &capture.kernel;
    kernel.pins.remove_other_versions().map_err(failed)?;
    for cookie in kernel.maps.pods.keys(usize::MAX).map_err(failed)? {
        if !cookies.contains(&cookie) {
            tracing::info!(cookie, "stale capture removed");
            capture.forget(NetnsCookie(cookie))?;
        }
    }
    for name in kernel.pins.link_names().map_err(failed)? {
        if !links.contains(&name) {
            tracing::info!(link = name, "stale link removed");
            super::attach::remove(&kernel.pins.link(&name)).map_err(failed)?;
        }
    }
    for ifindex in kernel.maps.guards.keys(usize::MAX).map_err(failed)? {
        if !interfaces.contains(&ifindex) {
            kernel.detach_guard(ifindex).map_err(|error| super::error::chain(&error))?;
            modes::remove(&kernel.maps, ifindex).map_err(failed)?;
        }
    }
    for key in kernel.maps.pod_drops.keys(usize::MAX).map_err(failed)? {
        if !interfaces.contains(&key.ifindex()) {
            kernel.maps.pod_drops.remove(&key).map_err(failed)?;
        }
    }
    modes::remove_ports(&kernel.maps, |key| !interfaces.contains(&key.ifindex())).map_err(failed)
}
