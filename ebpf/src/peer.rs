//! `getpeername(2)` and `accept(2)`: the peer that the application means, not the agent.

use aya_ebpf::programs::SockAddrContext;
use heddle_abi::ShownPeer;

use crate::maps::SHOWN_PEERS;

/// On an IPv4 socket.
#[inline(always)]
pub fn show_v4(ctx: &SockAddrContext) {
    let Some(shown) = shown(ctx) else { return };
    if !shown.peer().address().is_v4() {
        return;
    }
    // SAFETY: the kernel's context; both fields may be written by this program type.
    unsafe {
        (*ctx.sock_addr).user_ip4 = shown.peer().address().v4_word();
        (*ctx.sock_addr).user_port = u32::from(shown.peer().port_be());
    }
}

/// On an IPv6 socket; an IPv4 peer shows v4-mapped, as it would without us.
#[inline(always)]
pub fn show_v6(ctx: &SockAddrContext) {
    let Some(shown) = shown(ctx) else { return };
    let words = shown.peer().address().words();
    // SAFETY: as above.
    unsafe {
        (*ctx.sock_addr).user_ip6[0] = words[0];
        (*ctx.sock_addr).user_ip6[1] = words[1];
        (*ctx.sock_addr).user_ip6[2] = words[2];
        (*ctx.sock_addr).user_ip6[3] = words[3];
        (*ctx.sock_addr).user_port = u32::from(shown.peer().port_be());
    }
}

#[inline(always)]
fn shown(ctx: &SockAddrContext) -> Option<ShownPeer> {
    // SAFETY: the context's own socket; the value lives as long as the socket.
    unsafe { SHOWN_PEERS.get_ptr_mut(ctx).as_ref() }.copied()
}
