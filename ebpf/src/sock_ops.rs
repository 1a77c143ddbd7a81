//! TCP events: publish before the SYN leaves, hand over when established, clean up when closed.

use core::ptr::read_volatile;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
    BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock,
};
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_ktime_get_ns};
use aya_ebpf::programs::SockOpsContext;
use heddle_abi::{
    Address, AgentSocket, Endpoint, ShownPeer, ShownPeerKind, SocketKey, SocketKind, Tuple, TupleEntry,
    Verdict,
};

use crate::connect::pod_of;
use crate::maps::{AGENT_SOCKETS, ORIG_DST, PEERS, SHOWN_PEERS, TUPLES};
use crate::words::words;

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const TCP_CLOSE: u32 = 7;
const PROBE: u32 = SocketKind::Probe as u32;
const EARLIER: u32 = SocketKind::Earlier as u32;
/// How long a thread may be kept from running between the hook of its connect and its SYN.
const SETTLING_NS: u64 = 10_000_000_000;

/// Whatever happens, the connection goes on: what is not published is refused elsewhere.
#[inline(always)]
pub fn on_event(ctx: &SockOpsContext) {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => publish(ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => opened(ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted(ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == TCP_CLOSE => withdraw(ctx),
        _ => {}
    }
}

/// A marked socket is about to send its SYN.
#[inline(always)]
fn publish(ctx: &SockOpsContext) {
    let Some(tuple) = tuple(ctx) else { return };
    let Some(marked) = marked(ctx).or_else(|| mark_earlier(ctx, &tuple)) else { return };
    let kind = marked.kind();
    if kind == SocketKind::Application as u32 {
        if marked.client().port_be() != 0 {
            let _ = PEERS.insert(socket_key(ctx, *tuple.source()), *marked.client(), 0);
        }
    } else {
        let verdict = match kind {
            PROBE => Verdict::Probe,
            EARLIER => Verdict::Earlier,
            _ => Verdict::Agent,
        };
        let _ = TUPLES.insert(tuple, TupleEntry::new(verdict, 0), 0);
    }
    let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
}

/// A `connect` that is in no hurry: it passed its hook before the pod was captured, and its SYN leaves after that. The
/// hook captures every later one, so that there is nothing here for a pod to use; a limit in time costs nothing.
#[inline(always)]
fn mark_earlier(ctx: &SockOpsContext, tuple: &Tuple) -> Option<AgentSocket> {
    let cookie = cookie(ctx);
    let pod = pod_of(cookie).ok()??;
    let to = tuple.destination().address();
    let inside = to.is_loopback() || to == pod.v4() || to == pod.v6();
    // SAFETY: a helper without arguments.
    let late = unsafe { bpf_ktime_get_ns() }.saturating_sub(pod.captured_at()) > SETTLING_NS;
    if inside || late || shown(ctx).is_some() {
        return None;
    }
    let sk = socket(ctx);
    if sk.is_null() {
        return None;
    }
    let mut mark = AgentSocket::new(SocketKind::Earlier, Endpoint::ZERO);
    let map = (&raw const AGENT_SOCKETS).cast_mut();
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: the map is a socket storage of this value type, the socket is the context's own.
    let stored = unsafe { bpf_sk_storage_get(map.cast(), sk.cast(), (&raw mut mark).cast(), create) };
    (!stored.is_null()).then_some(mark)
}

/// A connect succeeded: before the client's ACK leaves, and so before the agent can accept.
#[inline(always)]
fn opened(ctx: &SockOpsContext) {
    let Some(tuple) = tuple(ctx) else { return };
    if let Some(shown) = shown(ctx) {
        let _ = ORIG_DST.insert(socket_key(ctx, *tuple.source()), *shown.peer(), 0);
        return;
    }
    // The agent published this one, or found it half-way when it captured the pod; a stranger's is not there.
    let _ = TUPLES.remove(tuple);
}

/// A connection was accepted: the client that the agent published for it moves into the socket itself.
#[inline(always)]
fn accepted(ctx: &SockOpsContext) {
    let Some(tuple) = tuple(ctx) else { return };
    let key = socket_key(ctx, *tuple.destination());
    // SAFETY: copied out at once.
    let Some(client) = unsafe { PEERS.get(key) }.copied() else { return };
    let _ = PEERS.remove(key);
    let mut shown = ShownPeer::new(ShownPeerKind::Client, client);
    let map = (&raw const SHOWN_PEERS).cast_mut();
    let sk = socket(ctx);
    if !sk.is_null() {
        // SAFETY: the map is a socket storage of this value type, the socket is the context's own.
        unsafe {
            bpf_sk_storage_get(
                map.cast(),
                sk.cast(),
                (&raw mut shown).cast(),
                u64::from(BPF_SK_STORAGE_GET_F_CREATE),
            )
        };
    }
}

/// A marked socket closes; what it published and nobody took must not lend itself to another connection.
#[inline(always)]
fn withdraw(ctx: &SockOpsContext) {
    let Some(marked) = marked(ctx) else { return };
    let Some(tuple) = tuple(ctx) else { return };
    if marked.kind() == SocketKind::Application as u32 {
        let _ = PEERS.remove(socket_key(ctx, *tuple.source()));
    } else {
        let _ = TUPLES.remove(tuple);
    }
}

#[inline(always)]
fn marked(ctx: &SockOpsContext) -> Option<AgentSocket> {
    let sk = socket(ctx);
    if sk.is_null() {
        return None;
    }
    let map = (&raw const AGENT_SOCKETS).cast_mut();
    // SAFETY: the map is a socket storage of this value type, the socket is the context's own.
    let value = unsafe { bpf_sk_storage_get(map.cast(), sk.cast(), core::ptr::null_mut(), 0) };
    // SAFETY: null or a value that lives as long as the socket.
    unsafe { value.cast::<AgentSocket>().as_ref() }.copied()
}

#[inline(always)]
fn shown(ctx: &SockOpsContext) -> Option<ShownPeer> {
    let sk = socket(ctx);
    if sk.is_null() {
        return None;
    }
    let map = (&raw const SHOWN_PEERS).cast_mut();
    // SAFETY: as above.
    let value = unsafe { bpf_sk_storage_get(map.cast(), sk.cast(), core::ptr::null_mut(), 0) };
    // SAFETY: as above.
    unsafe { value.cast::<ShownPeer>().as_ref() }.copied()
}

#[inline(always)]
fn socket(ctx: &SockOpsContext) -> *mut bpf_sock {
    // SAFETY: a plain read of the kernel's context.
    unsafe { (*ctx.ops).__bindgen_anon_2.sk }
}

#[inline(always)]
fn socket_key(ctx: &SockOpsContext, local: Endpoint) -> SocketKey {
    SocketKey::new(cookie(ctx), local)
}

#[inline(always)]
fn cookie(ctx: &SockOpsContext) -> u64 {
    // SAFETY: a helper call on the kernel's context.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

/// From this socket to its peer. local_port is in host order, remote_port in network order.
#[inline(always)]
fn tuple(ctx: &SockOpsContext) -> Option<Tuple> {
    let ops = ctx.ops;
    // SAFETY: plain reads of the kernel's context; both families before the choice, as in lookup.rs.
    let (local4, remote4, local6, remote6) = unsafe {
        (
            read_volatile(&raw const (*ops).local_ip4),
            read_volatile(&raw const (*ops).remote_ip4),
            words(&raw const (*ops).local_ip6),
            words(&raw const (*ops).remote_ip6),
        )
    };
    let (local, remote) = match ctx.family() {
        AF_INET => (Address::from_v4(local4), Address::from_v4(remote4)),
        AF_INET6 => (Address::from_v6(local6), Address::from_v6(remote6)),
        _ => return None,
    };
    let local_port = ctx.local_port() as u16;
    let remote_port = u32::from_be(ctx.remote_port()) as u16;
    Some(Tuple::new(Endpoint::new(local, local_port), Endpoint::new(remote, remote_port)))
}
