//! The lookup of a listener for a new connection inside a pod: inbound goes to the agent, or nowhere.

use core::ptr::read_volatile;

use aya_ebpf::programs::SkLookupContext;
use heddle_abi::{
    Address, Endpoint, ListenerKey, ListenerKind, OUTBOUND_PORT, PLAINTEXT_PORT, Reason, TUNNEL_PORT, Tuple,
    Verdict,
};

use crate::count::Refused;
use crate::maps::{LISTENERS, TUPLES};
use crate::words::words;

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const IPPROTO_TCP: u32 = 6;
const LOOPBACK_IFINDEX: u32 = 1;

/// Steers to a listener of the agent, or leaves the ordinary lookup alone.
#[inline(always)]
pub fn steer(ctx: &SkLookupContext) -> Result<(), Refused> {
    let lookup = ctx.lookup;
    // SAFETY: plain reads of the kernel's context.
    let (protocol, ifindex) = unsafe { ((*lookup).protocol, (*lookup).ingress_ifindex) };
    if protocol != IPPROTO_TCP {
        return Ok(());
    }
    let Some(tuple) = tuple(ctx) else { return Ok(()) };
    let port = tuple.destination().port();
    if inside_pod(&tuple, ifindex) {
        return admit_local(&tuple, port);
    }
    if port == OUTBOUND_PORT || port == PLAINTEXT_PORT {
        return Err(Refused::anywhere(Reason::AgentPort));
    }
    if verdict(&tuple) == Verdict::Probe as u32 {
        return Ok(());
    }
    let kind = if port == TUNNEL_PORT { ListenerKind::Tunnel } else { ListenerKind::Plaintext };
    let key = ListenerKey::new(*tuple.destination().address(), kind);
    match LISTENERS.redirect_sk_lookup(ctx, key, 0) {
        Ok(()) => Ok(()),
        Err(_) => Err(Refused::anywhere(Reason::NoListener)),
    }
}

/// The kernel does not show `lo` for traffic to the pod's own address, only for 127.0.0.0/8; nobody outside can have
/// the pod's own address (the guard) or a loopback address (martian filter) as source.
#[inline(always)]
fn inside_pod(tuple: &Tuple, ifindex: u32) -> bool {
    let (remote, local) = (tuple.source().address(), tuple.destination().address());
    ifindex == LOOPBACK_IFINDEX || remote == local || remote.is_loopback()
}

/// From inside the pod only the agent itself may come to its inbound ports: 15008 by a dial that it published.
#[inline(always)]
fn admit_local(tuple: &Tuple, port: u16) -> Result<(), Refused> {
    if port == PLAINTEXT_PORT || (port == TUNNEL_PORT && verdict(tuple) != Verdict::Agent as u32) {
        return Err(Refused::anywhere(Reason::AgentPort));
    }
    Ok(())
}

#[inline(always)]
fn verdict(tuple: &Tuple) -> u32 {
    // SAFETY: copied out at once.
    unsafe { TUPLES.get(tuple) }.map_or(0, |entry| entry.verdict())
}

/// From the remote end to the local one. remote_port is a big-endian u16, local_port in host order.
#[inline(always)]
fn tuple(ctx: &SkLookupContext) -> Option<Tuple> {
    let lookup = ctx.lookup;
    // SAFETY: plain reads of the kernel's context, each of its field's own width. Both families are read before the
    // choice, and volatile: merged branches would compute the field's address, which the verifier refuses.
    unsafe {
        let family = read_volatile(&raw const (*lookup).family);
        let remote_port = u16::from_be(read_volatile(&raw const (*lookup).remote_port));
        let local_port = read_volatile(&raw const (*lookup).local_port) as u16;
        let remote4 = read_volatile(&raw const (*lookup).remote_ip4);
        let local4 = read_volatile(&raw const (*lookup).local_ip4);
        let remote6 = words(&raw const (*lookup).remote_ip6);
        let local6 = words(&raw const (*lookup).local_ip6);
        let (remote, local) = match family {
            AF_INET => (Address::from_v4(remote4), Address::from_v4(local4)),
            AF_INET6 => (Address::from_v6(remote6), Address::from_v6(local6)),
            _ => return None,
        };
        Some(Tuple::new(Endpoint::new(remote, remote_port), Endpoint::new(local, local_port)))
    }
}
