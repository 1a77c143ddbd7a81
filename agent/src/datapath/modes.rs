//! What a pod's ports take, as the guard has it.

use std::io;

use heddle_abi::{Egress, GuardEntry, MtlsMode as KernelMode, PortEntry, PortKey};
use heddle_core::mtls::{MtlsMode, MtlsPolicy};

use super::endpoint::of_family;
use super::maps::Maps;
use crate::pod::Pod;

/// Writes a pod's modes: exceptions before the default, so that no port is ever looser than both states.
pub(super) fn write(maps: &Maps, pod: &Pod, policy: &MtlsPolicy, egress: Egress) -> io::Result<()> {
    let ifindex = pod.host_ifindex;
    for (port, mode) in policy.exceptions() {
        let key = PortKey::new(ifindex, *port);
        maps.port_modes.keep(&key, &PortEntry::new(key, kernel_mode(*mode)))?;
    }
    let addresses = &pod.addresses;
    let (v4, v6) = (of_family(addresses, true), of_family(addresses, false));
    let guard = GuardEntry::new(ifindex, v4, v6, kernel_mode(policy.default_mode()));
    maps.guards.keep(&ifindex, &guard.with(ifindex, egress))?;
    let is_exception = |port| policy.exceptions().iter().any(|exception| exception.0 == port);
    remove_ports(maps, |key| key.ifindex() == ifindex && !is_exception(key.port()))
}

/// Lets everything out that the pod begins, if its guard stands.
pub(super) fn open_egress(maps: &Maps, ifindex: u32) -> io::Result<()> {
    match maps.guards.get(&ifindex)? {
        Some(guard) => maps.guards.keep(&ifindex, &guard.with(ifindex, Egress::Open)),
        None => Ok(()),
    }
}

/// Removes what the guard knows about an interface: it drops everything from then on.
pub(super) fn remove(maps: &Maps, ifindex: u32) -> io::Result<()> {
    maps.guards.remove(&ifindex)?;
    remove_ports(maps, |key| key.ifindex() == ifindex)
}

/// Removes the port modes that `unwanted` names.
pub(super) fn remove_ports(maps: &Maps, unwanted: impl Fn(&PortKey) -> bool) -> io::Result<()> {
    for key in maps.port_modes.keys(usize::MAX)? {
        if unwanted(&key) {
            maps.port_modes.remove(&key)?;
        }
    }
    Ok(())
}

/// Whether a port takes plaintext under `old` and does not under `new`: of any port, by default or by name.
pub(super) fn tightens(old: Option<&MtlsPolicy>, new: &MtlsPolicy) -> bool {
    let Some(old) = old else {
        return new.default_mode() == MtlsMode::Strict
            || new.exceptions().iter().any(|e| e.1 == MtlsMode::Strict);
    };
    let loose = |policy: &MtlsPolicy, port| policy.mode(port) != MtlsMode::Strict;
    let named = old.exceptions().iter().chain(new.exceptions()).map(|exception| exception.0);
    (old.default_mode() != MtlsMode::Strict && new.default_mode() == MtlsMode::Strict)
        || named.into_iter().any(|port| loose(old, port) && !loose(new, port))
}

fn kernel_mode(mode: MtlsMode) -> KernelMode {
    match mode {
        MtlsMode::Disable => KernelMode::Disable,
        MtlsMode::Permissive => KernelMode::Permissive,
        MtlsMode::Strict => KernelMode::Strict,
    }
}
