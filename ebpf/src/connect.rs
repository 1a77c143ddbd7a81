//! `connect(2)`: what an enrolled pod dials goes to its own agent listener instead.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_netns_cookie};
use aya_ebpf::programs::SockAddrContext;
use heddle_abi::{
    Address, AgentSocket, Endpoint, OUTBOUND_PORT, PodEntry, Reason, ShownPeer, ShownPeerKind, SocketKind,
};

use crate::count::Refused;
use crate::maps::{AGENT_SOCKETS, PODS, PROBER, SHOWN_PEERS};
use crate::settled::{Unsettled, settled};
use crate::words::words;

pub(crate) const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_MPTCP: u32 = 262;

/// Captures an IPv4 connect.
#[inline(always)]
pub fn v4(ctx: &SockAddrContext) -> Result<(), Refused> {
    let Some(pod) = &captured_pod(ctx)? else { return Ok(()) };
    let dialled = Endpoint::new(Address::from_v4(ip4(ctx)), port(ctx));
    if stays_in_pod(&dialled, pod) {
        forget(ctx);
        return Ok(());
    }
    if pod.v4().is_unspecified() {
        return Err(Refused::of(pod.host_ifindex(), Reason::NoFamily));
    }
    remember(ctx, pod, dialled)?;
    // SAFETY: the context is the kernel's; both fields may be written by this program type.
    unsafe {
        (*ctx.sock_addr).user_ip4 = pod.v4().v4_word();
        (*ctx.sock_addr).user_port = u32::from(OUTBOUND_PORT.to_be());
    }
    Ok(())
}

/// Captures an IPv6 connect; a v4-mapped one goes to the IPv4 listener.
#[inline(always)]
pub fn v6(ctx: &SockAddrContext) -> Result<(), Refused> {
    let Some(pod) = &captured_pod(ctx)? else { return Ok(()) };
    let dialled = Endpoint::new(Address::from_v6(ip6(ctx)), port(ctx));
    if stays_in_pod(&dialled, pod) {
        forget(ctx);
        return Ok(());
    }
    let own = if dialled.address().is_v4() { pod.v4() } else { pod.v6() };
    if own.is_unspecified() {
        return Err(Refused::of(pod.host_ifindex(), Reason::NoFamily));
    }
    remember(ctx, pod, dialled)?;
    let words = own.words();
    // SAFETY: as above.
    unsafe {
        (*ctx.sock_addr).user_ip6[0] = words[0];
        (*ctx.sock_addr).user_ip6[1] = words[1];
        (*ctx.sock_addr).user_ip6[2] = words[2];
        (*ctx.sock_addr).user_ip6[3] = words[3];
        (*ctx.sock_addr).user_port = u32::from(OUTBOUND_PORT.to_be());
    }
    Ok(())
}

/// The pod whose stream socket this is, unless the socket is the agent's.
#[inline(always)]
fn captured_pod(ctx: &SockAddrContext) -> Result<Option<PodEntry>, Refused> {
    // SAFETY: plain reads of the kernel's context.
    let (kind, protocol) = unsafe { ((*ctx.sock_addr).type_, (*ctx.sock_addr).protocol) };
    if kind != SOCK_STREAM || (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP) {
        return Ok(None);
    }
    // SAFETY: a helper call on the kernel's context.
    let cookie = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let pod = match pod_of(cookie) {
        // Nothing is known of the pod, so nothing can be said of where it goes.
        Err(Unsettled) => return Err(Refused::anywhere(Reason::ConnectUnsettled)),
        Ok(pod) => pod,
    };
    if pod.is_none() {
        mark_probe(ctx);
        return Ok(None);
    }
    // One that is removed meanwhile captures this last connect; its listeners stay a little longer.
    Ok(if is_agents(ctx) { None } else { pod })
}

/// The enrolled pod of a network namespace.
#[inline(always)]
pub(crate) fn pod_of(cookie: u64) -> Result<Option<PodEntry>, Unsettled> {
    settled(&cookie, |cookie| PODS.get_ptr(cookie))
}

/// Marked by the agent. What capture once left alone because it had begun before is an application's like any other.
#[inline(always)]
pub(crate) fn is_agents(ctx: &SockAddrContext) -> bool {
    // SAFETY: the context's own socket; the value lives as long as the socket.
    let Some(marked) = (unsafe { AGENT_SOCKETS.get_ptr_mut(ctx).as_ref() }) else { return false };
    if marked.kind() != SocketKind::Earlier as u32 {
        return true;
    }
    // SAFETY: as in `forget`.
    let _ = unsafe { AGENT_SOCKETS.delete((*ctx.sock_addr).__bindgen_anon_1.sk) };
    false
}

/// A socket of the kubelet's own processes is marked, so that its SYN is published.
#[inline(always)]
fn mark_probe(ctx: &SockAddrContext) {
    let prober = PROBER.get(0).copied().unwrap_or(0);
    // SAFETY: a helper without arguments.
    if prober == 0 || unsafe { bpf_get_current_cgroup_id() } != prober {
        return;
    }
    let mut mark = AgentSocket::new(SocketKind::Probe, Endpoint::ZERO);
    // SAFETY: the context's own socket. Without storage the probe is an ordinary stranger: fail closed.
    let _ = unsafe { AGENT_SOCKETS.get_or_insert_ptr_mut(ctx, Some(&mut mark)) };
}

/// What never leaves the pod is none of the agent's business.
#[inline(always)]
fn stays_in_pod(dialled: &Endpoint, pod: &PodEntry) -> bool {
    let address = dialled.address();
    address.is_loopback() || address.is_unspecified() || address == pod.v4() || address == pod.v6()
}

#[inline(always)]
fn remember(ctx: &SockAddrContext, pod: &PodEntry, dialled: Endpoint) -> Result<(), Refused> {
    let mut shown = ShownPeer::new(ShownPeerKind::Dialled, dialled);
    // SAFETY: the context's own socket.
    let stored = unsafe { SHOWN_PEERS.get_or_insert_ptr_mut(ctx, Some(&mut shown)) };
    if stored.is_null() {
        return Err(Refused::of(pod.host_ifindex(), Reason::NoStorage));
    }
    // SAFETY: not null, and as long-lived as the socket; an earlier attempt's value is replaced.
    unsafe { *stored = shown };
    Ok(())
}

/// An earlier attempt on the same socket may have been captured.
#[inline(always)]
fn forget(ctx: &SockAddrContext) {
    // SAFETY: the context's own socket.
    let _ = unsafe { SHOWN_PEERS.delete((*ctx.sock_addr).__bindgen_anon_1.sk) };
}

#[inline(always)]
pub(crate) fn ip4(ctx: &SockAddrContext) -> u32 {
    // SAFETY: a plain read; volatile, so that it stays the full-width read that the verifier wants.
    unsafe { core::ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip4) }
}

#[inline(always)]
pub(crate) fn ip6(ctx: &SockAddrContext) -> [u32; 4] {
    // SAFETY: a readable field of the context.
    unsafe { words(&raw const (*ctx.sock_addr).user_ip6) }
}

/// In host order; the context has a big-endian u16 in the low half.
#[inline(always)]
pub(crate) fn port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: as above.
    let port = unsafe { core::ptr::read_volatile(&raw const (*ctx.sock_addr).user_port) };
    u16::from_be(port as u16)
}
