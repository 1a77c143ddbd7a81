//! `bind(2)`: nobody but the agent may listen on the agent's ports of an enrolled pod, not even beside it.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_netns_cookie;
use aya_ebpf::programs::SockAddrContext;
use heddle_abi::{AGENT_PORTS, Address, Reason};

use crate::connect::{SOCK_STREAM, ip4, ip6, is_agents, pod_of, port};
use crate::count::Refused;
use crate::settled::Unsettled;

/// Of an IPv4 socket.
#[inline(always)]
pub fn v4(ctx: &SockAddrContext) -> Result<(), Refused> {
    admit(ctx, Address::from_v4(ip4(ctx)))
}

/// Of an IPv6 socket.
#[inline(always)]
pub fn v6(ctx: &SockAddrContext) -> Result<(), Refused> {
    admit(ctx, Address::from_v6(ip6(ctx)))
}

/// A socket of the same user could join the agent's SO_REUSEPORT group, and take its share of what is captured.
/// At loopback addresses there is no group of the agent's.
#[inline(always)]
fn admit(ctx: &SockAddrContext, address: Address) -> Result<(), Refused> {
    // SAFETY: a plain read of the kernel's context.
    let kind = unsafe { (*ctx.sock_addr).type_ };
    let port = port(ctx);
    if kind != SOCK_STREAM || !AGENT_PORTS.contains(&port) || address.is_loopback() {
        return Ok(());
    }
    // SAFETY: a helper call on the kernel's context.
    let cookie = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let ifindex = match pod_of(cookie) {
        Ok(None) => return Ok(()),
        Ok(Some(pod)) => pod.host_ifindex(),
        Err(Unsettled) => 0,
    };
    if is_agents(ctx) { Ok(()) } else { Err(Refused::of(ifindex, Reason::AgentPortBind)) }
}
