//! Packets, read through one bounds-checked load.

use aya_ebpf::programs::TcContext;
use heddle_abi::{Address, Endpoint, Tuple};

const ETHERNET: usize = 14;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;
const IPV6_HEADER: usize = 40;
const MAX_EXTENSIONS: usize = 6;

pub const IPPROTO_ICMP: u8 = 1;
pub const IPPROTO_TCP: u8 = 6;
pub const IPPROTO_UDP: u8 = 17;
pub const IPPROTO_ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Too short, nested too deeply, tagged, or not IP.
pub struct Unclassifiable;

/// What a frame holds.
pub enum Frame {
    Arp,
    Ip(Packet),
}

/// An IP packet.
pub struct Packet {
    pub source: Address,
    pub destination: Address,
    pub protocol: u8,
    /// A fragment that does not begin the datagram: there is no transport header in it.
    pub later_fragment: bool,
    /// Offset of the transport header in the frame.
    transport: usize,
}

impl Packet {
    /// TCP or UDP ports, as a tuple.
    #[inline(always)]
    pub fn tuple(&self, ctx: &TcContext) -> Result<Tuple, Unclassifiable> {
        let ports: [u16; 2] = load(ctx, self.transport)?;
        Ok(Tuple::new(
            Endpoint::new(self.source, u16::from_be(ports[0])),
            Endpoint::new(self.destination, u16::from_be(ports[1])),
        ))
    }

    /// The flags of a TCP header.
    #[inline(always)]
    pub fn tcp_flags(&self, ctx: &TcContext) -> Result<u8, Unclassifiable> {
        load(ctx, self.transport + 13)
    }

    /// The type of an ICMP message.
    #[inline(always)]
    pub fn icmp_type(&self, ctx: &TcContext) -> Result<u8, Unclassifiable> {
        load(ctx, self.transport)
    }
}

/// Reads a frame as far as its transport header.
#[inline(always)]
pub fn parse(ctx: &TcContext) -> Result<Frame, Unclassifiable> {
    // SAFETY: a plain read of the kernel's context.
    if unsafe { (*ctx.skb.skb).vlan_present } != 0 {
        return Err(Unclassifiable);
    }
    match u16::from_be(load(ctx, 12)?) {
        ETH_P_ARP => Ok(Frame::Arp),
        ETH_P_IP => parse_v4(ctx).map(Frame::Ip),
        ETH_P_IPV6 => parse_v6(ctx).map(Frame::Ip),
        _ => Err(Unclassifiable),
    }
}

#[inline(always)]
fn parse_v4(ctx: &TcContext) -> Result<Packet, Unclassifiable> {
    let first: u8 = load(ctx, ETHERNET)?;
    let length = usize::from(first & 0xf) * 4;
    if first >> 4 != 4 || length < 20 {
        return Err(Unclassifiable);
    }
    let fragment: u16 = load(ctx, ETHERNET + 6)?;
    let addresses: [u32; 2] = load(ctx, ETHERNET + 12)?;
    Ok(Packet {
        source: Address::from_v4(addresses[0]),
        destination: Address::from_v4(addresses[1]),
        protocol: load(ctx, ETHERNET + 9)?,
        later_fragment: u16::from_be(fragment) & 0x1fff != 0,
        transport: ETHERNET + length,
    })
}

#[inline(always)]
fn parse_v6(ctx: &TcContext) -> Result<Packet, Unclassifiable> {
    let first: u8 = load(ctx, ETHERNET)?;
    if first >> 4 != 6 {
        return Err(Unclassifiable);
    }
    let mut packet = Packet {
        source: Address::from_v6(load(ctx, ETHERNET + 8)?),
        destination: Address::from_v6(load(ctx, ETHERNET + 24)?),
        protocol: load(ctx, ETHERNET + 6)?,
        later_fragment: false,
        transport: ETHERNET + IPV6_HEADER,
    };
    for _ in 0..MAX_EXTENSIONS {
        match packet.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let header: [u8; 2] = load(ctx, packet.transport)?;
                packet.protocol = header[0];
                packet.transport += (usize::from(header[1]) + 1) * 8;
            }
            FRAGMENT => {
                let header: [u16; 2] = load(ctx, packet.transport)?;
                packet.protocol = header[0].to_ne_bytes()[0];
                packet.transport += 8;
                if u16::from_be(header[1]) & 0xfff8 != 0 {
                    packet.later_fragment = true;
                    return Ok(packet);
                }
            }
            _ => return Ok(packet),
        }
    }
    Err(Unclassifiable)
}

/// The one way to read a packet: copies, and fails beyond its end.
#[inline(always)]
fn load<T>(ctx: &TcContext, offset: usize) -> Result<T, Unclassifiable> {
    ctx.load(offset).map_err(|_| Unclassifiable)
}
