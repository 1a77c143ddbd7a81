//! The kernel half of Heddle: capture at the socket layer, a guard at the wire, and nothing that needs thought.
//!
//! ```text
//! bind ─────► the agent's ports are the agent's
//! connect ──► SHOWN_PEERS ──► sockops ──► ORIG_DST ──► (agent)
//! (agent) ──► AGENT_SOCKETS ─► sockops ──► TUPLES ───► guard, lookup
//!                                    └──► PEERS ────► accepted socket's SHOWN_PEERS ──► getpeername
//! ```
//!
//! Every entry point calls one function and maps its result to a verdict. Programs count; they never emit.
#![no_std]
#![no_main]

mod bind;
mod connect;
mod count;
mod guard;
mod lookup;
mod maps;
mod packet;
mod peer;
mod settled;
mod sock_ops;
mod words;

use aya_ebpf::macros::{cgroup_sock_addr, classifier, sk_lookup, sock_ops};
use aya_ebpf::programs::{SkLookupContext, SockAddrContext, SockOpsContext, TcContext};

/// cgroup sock_addr: the call goes on.
const ALLOW: i32 = 1;
/// cgroup sock_addr: EPERM.
const REFUSE: i32 = 0;
/// sk_lookup: the ordinary lookup, or the assigned socket.
const SK_PASS: u32 = 1;
/// sk_lookup: no socket; TCP answers with RST.
const SK_DROP: u32 = 0;
/// tc: the next program decides (TCX_NEXT, which is TC_ACT_UNSPEC to a clsact filter).
const NEXT: i32 = -1;
/// tc: drop.
const SHOT: i32 = 2;

#[cgroup_sock_addr(bind4)]
fn heddle_bind4(ctx: SockAddrContext) -> i32 {
    bind::v4(&ctx).map_or_else(|refused| refused.count(REFUSE), |()| ALLOW)
}

#[cgroup_sock_addr(bind6)]
fn heddle_bind6(ctx: SockAddrContext) -> i32 {
    bind::v6(&ctx).map_or_else(|refused| refused.count(REFUSE), |()| ALLOW)
}

#[cgroup_sock_addr(connect4)]
fn heddle_connect4(ctx: SockAddrContext) -> i32 {
    connect::v4(&ctx).map_or_else(|refused| refused.count(REFUSE), |()| ALLOW)
}

#[cgroup_sock_addr(connect6)]
fn heddle_connect6(ctx: SockAddrContext) -> i32 {
    connect::v6(&ctx).map_or_else(|refused| refused.count(REFUSE), |()| ALLOW)
}

#[cgroup_sock_addr(getpeername4)]
fn heddle_peer4(ctx: SockAddrContext) -> i32 {
    peer::show_v4(&ctx);
    ALLOW
}

#[cgroup_sock_addr(getpeername6)]
fn heddle_peer6(ctx: SockAddrContext) -> i32 {
    peer::show_v6(&ctx);
    ALLOW
}

#[sock_ops]
fn heddle_sockops(ctx: SockOpsContext) -> u32 {
    sock_ops::on_event(&ctx);
    1
}

#[sk_lookup]
fn heddle_lookup(ctx: SkLookupContext) -> u32 {
    lookup::steer(&ctx).map_or_else(|refused| refused.count(SK_DROP), |()| SK_PASS)
}

#[classifier]
fn heddle_to_pod(ctx: TcContext) -> i32 {
    guard::to_pod(&ctx).map_or_else(|refused| refused.count(SHOT), |()| NEXT)
}

#[classifier]
fn heddle_from_pod(ctx: TcContext) -> i32 {
    guard::from_pod(&ctx).map_or_else(|refused| refused.count(SHOT), |()| NEXT)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: unreachable: every access is checked, and the linker drops this; the verifier would refuse it otherwise.
    unsafe { core::hint::unreachable_unchecked() }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
