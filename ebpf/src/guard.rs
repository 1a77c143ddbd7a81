//! The guard at the host side of a pod's veth: what bypassed the sockets, in the pod or outside, gets no further.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::programs::TcContext;
use heddle_abi::{Address, GuardEntry, MtlsMode, PortKey, Reason, TUNNEL_PORT, Tuple, Verdict};

use crate::count::Refused;
use crate::maps::{GUARDS, PORT_MODES, TUPLES, UDP_FLOWS};
use crate::packet::{
    Frame, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, Packet, Unclassifiable, parse,
};
use crate::settled::{Unsettled, settled};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// As long as Linux tracks an assured UDP stream.
const UDP_REPLY_NS: u64 = 120_000_000_000;

/// One packet at one pod's guard.
struct Passage<'a> {
    ctx: &'a TcContext,
    ifindex: u32,
    guard: &'a GuardEntry,
}

/// A packet on its way to the pod.
#[inline(always)]
pub fn to_pod(ctx: &TcContext) -> Result<(), Refused> {
    let ifindex = ifindex(ctx);
    let guard = match guard_at(ifindex) {
        Ok(Some(guard)) => guard,
        Ok(None) => return Err(Refused::of(ifindex, Reason::ToUnknownPod)),
        Err(Unsettled) => return Err(Refused::of(ifindex, Reason::ToUnsettled)),
    };
    let passage = Passage { ctx, ifindex, guard: &guard };
    passage.towards().map_err(|reason| Refused::of(ifindex, reason))
}

/// A packet on its way from the pod.
#[inline(always)]
pub fn from_pod(ctx: &TcContext) -> Result<(), Refused> {
    let ifindex = ifindex(ctx);
    let guard = match guard_at(ifindex) {
        Ok(Some(guard)) => guard,
        Ok(None) => return Err(Refused::of(ifindex, Reason::FromUnknownPod)),
        Err(Unsettled) => return Err(Refused::of(ifindex, Reason::FromUnsettled)),
    };
    let passage = Passage { ctx, ifindex, guard: &guard };
    passage.away().map_err(|reason| Refused::of(ifindex, reason))
}

/// The map puts the new entry in before it takes the old one out, and a lookup that began before the one and ends after the
/// other finds neither: hence the second look.
#[inline(always)]
fn guard_at(ifindex: u32) -> Result<Option<GuardEntry>, Unsettled> {
    let look = || settled(&ifindex, |ifindex| GUARDS.get_ptr(ifindex));
    match look() {
        Ok(None) => look(),
        found => found,
    }
}

impl Passage<'_> {
    #[inline(always)]
    fn towards(&self) -> Result<(), Reason> {
        let malformed = |Unclassifiable| Reason::ToUnclassifiable;
        let packet = match parse(self.ctx).map_err(malformed)? {
            Frame::Arp => return Ok(()),
            Frame::Ip(packet) => packet,
        };
        if self.owns(&packet.source) {
            return Err(Reason::OwnSource);
        }
        if packet.later_fragment {
            return self.when_not_strict(Reason::FragmentToStrict);
        }
        match packet.protocol {
            IPPROTO_TCP => self.tcp_towards(&packet).unwrap_or(Err(Reason::ToUnclassifiable)),
            IPPROTO_UDP => self.udp_towards(&packet.tuple(self.ctx).map_err(malformed)?),
            IPPROTO_ICMP | IPPROTO_ICMPV6 if self.is_vital(&packet).map_err(malformed)? => Ok(()),
            IPPROTO_ICMP | IPPROTO_ICMPV6 => self.when_not_strict(Reason::EchoToStrict),
            _ => Err(Reason::ToUnknownProtocol),
        }
    }

    #[inline(always)]
    fn tcp_towards(&self, packet: &Packet) -> Result<Result<(), Reason>, Unclassifiable> {
        if packet.tcp_flags(self.ctx)? & (SYN | ACK) != SYN {
            return Ok(Ok(()));
        }
        let tuple = packet.tuple(self.ctx)?;
        let port = tuple.destination().port();
        if port == TUNNEL_PORT || self.admits_plaintext(port) || verdict(&tuple) == Verdict::Probe as u32 {
            return Ok(Ok(()));
        }
        Ok(Err(Reason::PlaintextToStrict))
    }

    #[inline(always)]
    fn udp_towards(&self, tuple: &Tuple) -> Result<(), Reason> {
        if self.admits_plaintext(tuple.destination().port()) || is_udp_reply(tuple) {
            return Ok(());
        }
        Err(Reason::UdpToStrict)
    }

    #[inline(always)]
    fn away(&self) -> Result<(), Reason> {
        let malformed = |Unclassifiable| Reason::FromUnclassifiable;
        let packet = match parse(self.ctx).map_err(malformed)? {
            Frame::Arp => return Ok(()),
            Frame::Ip(packet) => packet,
        };
        if !self.owns(&packet.source) && !is_neighbour_source(&packet) {
            return Err(Reason::SpoofedSource);
        }
        if packet.later_fragment {
            return self.when_not_strict(Reason::FragmentFromStrict);
        }
        match packet.protocol {
            IPPROTO_TCP => self.tcp_away(&packet).unwrap_or(Err(Reason::FromUnclassifiable)),
            IPPROTO_UDP => {
                remember_udp(&packet.tuple(self.ctx).map_err(malformed)?);
                Ok(())
            }
            IPPROTO_ICMP | IPPROTO_ICMPV6 if self.is_vital(&packet).map_err(malformed)? => Ok(()),
            IPPROTO_ICMP | IPPROTO_ICMPV6 => self.when_not_strict(Reason::EchoFromStrict),
            _ => Err(Reason::FromUnknownProtocol),
        }
    }

    #[inline(always)]
    fn tcp_away(&self, packet: &Packet) -> Result<Result<(), Reason>, Unclassifiable> {
        if packet.tcp_flags(self.ctx)? & (SYN | ACK) != SYN {
            return Ok(Ok(()));
        }
        if self.guard.is_open() || is_published(&packet.tuple(self.ctx)?) {
            return Ok(Ok(()));
        }
        Ok(Err(Reason::UnpublishedSyn))
    }

    /// Zeros stand for the family that the pod lacks, and are nobody's address.
    #[inline(always)]
    fn owns(&self, address: &Address) -> bool {
        *address != Address::ZERO && (address == self.guard.v4() || address == self.guard.v6())
    }

    #[inline(always)]
    fn admits_plaintext(&self, port: u16) -> bool {
        match settled(&PortKey::new(self.ifindex, port), |key| PORT_MODES.get_ptr(key)) {
            Ok(entry) => MtlsMode::admits_plaintext(entry.map_or(self.guard.mode(), |entry| entry.mode())),
            Err(Unsettled) => false,
        }
    }

    #[inline(always)]
    fn when_not_strict(&self, reason: Reason) -> Result<(), Reason> {
        if MtlsMode::admits_plaintext(self.guard.mode()) { Ok(()) } else { Err(reason) }
    }

    /// Errors (path MTU among them), neighbour and router discovery, multicast listener reports: no payload of anybody's.
    #[inline(always)]
    fn is_vital(&self, packet: &Packet) -> Result<bool, Unclassifiable> {
        let kind = packet.icmp_type(self.ctx)?;
        Ok(if packet.protocol == IPPROTO_ICMP {
            packet.source.is_v4() && matches!(kind, 3 | 11 | 12)
        } else {
            !packet.source.is_v4() && matches!(kind, 1..=4 | 130..=136 | 143)
        })
    }
}

/// Link-local and unspecified sources belong to neighbour discovery, and to nothing else.
#[inline(always)]
fn is_neighbour_source(packet: &Packet) -> bool {
    packet.protocol == IPPROTO_ICMPV6
        && (packet.source.is_link_local_v6() || packet.source == Address::ZERO)
        && !packet.later_fragment
}

/// By the agent; or by an application whose `connect` had begun before its pod was captured, for as long as it tries.
#[inline(always)]
fn is_published(tuple: &Tuple) -> bool {
    // SAFETY: copied out at once.
    let Some(entry) = (unsafe { TUPLES.get(tuple) }).copied() else { return false };
    // SAFETY: a helper without arguments.
    let in_time = entry.until() == 0 || unsafe { bpf_ktime_get_ns() } < entry.until();
    in_time && (entry.verdict() == Verdict::Agent as u32 || entry.verdict() == Verdict::Earlier as u32)
}

#[inline(always)]
fn verdict(tuple: &Tuple) -> u32 {
    // SAFETY: one word, copied out.
    unsafe { TUPLES.get(tuple) }.map_or(0, |entry| entry.verdict())
}

#[inline(always)]
fn remember_udp(tuple: &Tuple) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    match UDP_FLOWS.get_ptr_mut(tuple) {
        // SAFETY: one aligned word; a racing write is another "now".
        Some(seen) => unsafe { *seen = now },
        None => drop(UDP_FLOWS.insert(tuple, now, 0)),
    }
}

#[inline(always)]
fn is_udp_reply(tuple: &Tuple) -> bool {
    // SAFETY: one word, copied out.
    let Some(seen) = (unsafe { UDP_FLOWS.get(tuple.reversed()) }).copied() else { return false };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    now.saturating_sub(seen) < UDP_REPLY_NS
}

#[inline(always)]
fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: a plain read of the kernel's context.
    unsafe { (*ctx.skb.skb).ifindex }
}
