//! Just enough of pcap, Ethernet, IP and TCP to say what crossed the wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};

/// One captured frame.
#[derive(Debug)]
pub struct Packet {
    /// Seconds since the epoch.
    pub time: f64,
    /// Source and destination, where it is IP.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// Ports and flags, where it is TCP.
    pub tcp: Option<Tcp>,
    bytes: Box<[u8]>,
}

/// The part of a TCP header that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Flags octet (RFC 9293, 3.1).
    pub flags: u8,
    /// Bytes of data.
    pub length: usize,
}

impl Packet {
    /// Whether the frame holds these bytes.
    pub fn contains(&self, needle: &[u8]) -> bool {
        self.bytes.windows(needle.len()).any(|window| window == needle)
    }

    /// SYN without ACK.
    pub fn is_open(&self) -> bool {
        self.tcp.is_some_and(|tcp| tcp.flags & 0x12 == 0x02)
    }

    /// Whether one end is this address.
    pub fn touches(&self, address: IpAddr) -> bool {
        self.addresses.is_some_and(|(from, to)| from == address || to == address)
    }
}

/// Reads a pcap file (little-endian, microseconds or nanoseconds, Ethernet), ignoring a cut last record.
///
/// # Errors
/// It is not such a file.
pub fn parse_pcap(file: &[u8]) -> Result<Vec<Packet>> {
    ensure!(file.len() >= 24, "not a pcap file: too short");
    let fraction = match u32_le(file, 0) {
        0xa1b2_c3d4 => 1e-6,
        0xa1b2_3c4d => 1e-9,
        other => anyhow::bail!("not a little-endian pcap file: magic {other:#x}"),
    };
    let mut packets = Vec::new();
    let mut rest = &file[24..];
    while rest.len() >= 16 {
        let length = u32_le(rest, 8) as usize;
        let Some(frame) = rest.get(16..16 + length) else { break };
        let time = f64::from(u32_le(rest, 0)) + f64::from(u32_le(rest, 4)) * fraction;
        packets.push(parse_frame(time, frame));
        rest = &rest[16 + length..];
    }
    Ok(packets)
}

fn parse_frame(time: f64, frame: &[u8]) -> Packet {
    let (addresses, tcp) = match frame.get(12..14) {
        Some([0x08, 0x00]) => parse_v4(&frame[14..]),
        Some([0x86, 0xdd]) => parse_v6(&frame[14..]),
        _ => None,
    }
    .map_or((None, None), |(addresses, tcp)| (Some(addresses), tcp));
    Packet { time, addresses, tcp, bytes: frame.into() }
}

type Parsed = ((IpAddr, IpAddr), Option<Tcp>);

fn parse_v4(ip: &[u8]) -> Option<Parsed> {
    let source: [u8; 4] = ip.get(12..16)?.try_into().ok()?;
    let destination: [u8; 4] = ip.get(16..20)?.try_into().ok()?;
    let addresses = (Ipv4Addr::from(source).into(), Ipv4Addr::from(destination).into());
    let header = usize::from(ip[0] & 0x0f) * 4;
    let total = usize::from(u16_be(ip, 2)).min(ip.len());
    let tcp = if ip[9] == 6 { parse_tcp(ip.get(header..total).unwrap_or_default()) } else { None };
    Some((addresses, tcp))
}

fn parse_v6(ip: &[u8]) -> Option<Parsed> {
    let source: [u8; 16] = ip.get(8..24)?.try_into().ok()?;
    let destination: [u8; 16] = ip.get(24..40)?.try_into().ok()?;
    let addresses = (Ipv6Addr::from(source).into(), Ipv6Addr::from(destination).into());
    let end = (40 + usize::from(u16_be(ip, 4))).min(ip.len());
    let tcp = if ip[6] == 6 { parse_tcp(&ip[40..end]) } else { None };
    Some((addresses, tcp))
}

fn parse_tcp(tcp: &[u8]) -> Option<Tcp> {
    if tcp.len() < 20 {
        return None;
    }
    let header = usize::from(tcp[12] >> 4) * 4;
    let length = tcp.len().saturating_sub(header);
    Some(Tcp { source: u16_be(tcp, 0), destination: u16_be(tcp, 2), flags: tcp[13], length })
}

fn u16_be(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_le(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
