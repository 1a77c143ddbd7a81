//! SYNs made by hand, from any source address: what a pod with CAP_NET_RAW can send.

use std::mem::size_of_val;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

pub(crate) fn send(source: IpAddr, destination: IpAddr, port: u16, count: u16) -> Result<()> {
    let family = if destination.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers; the descriptor is checked below and lives until the process ends.
    let socket = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    ensure!(socket >= 0, "raw socket: {}", std::io::Error::last_os_error());
    for number in 0..count {
        let packet = packet(source, destination, 40_000 + number, port).context("families differ")?;
        send_one(socket, destination, &packet)?;
    }
    println!("sent {count}");
    Ok(())
}

fn send_one(socket: i32, destination: IpAddr, packet: &[u8]) -> Result<()> {
    let buffer = packet.as_ptr().cast();
    let sent = match destination {
        IpAddr::V4(ip) => {
            let to = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: 0,
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: buffer and address outlive the call and their lengths are their own.
            unsafe {
                libc::sendto(socket, buffer, packet.len(), 0, (&raw const to).cast(), size_of_val(&to) as u32)
            }
        }
        IpAddr::V6(ip) => {
            let to = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: ip.octets() },
                sin6_scope_id: 0,
            };
            // SAFETY: as above.
            unsafe {
                libc::sendto(socket, buffer, packet.len(), 0, (&raw const to).cast(), size_of_val(&to) as u32)
            }
        }
    };
    ensure!(sent >= 0, "send: {}", std::io::Error::last_os_error());
    Ok(())
}

/// IP and TCP header of a SYN (RFC 791, 8200, 9293).
fn packet(source: IpAddr, destination: IpAddr, from: u16, to: u16) -> Option<Vec<u8>> {
    let mut tcp = [0u8; 20];
    tcp[0..2].copy_from_slice(&from.to_be_bytes());
    tcp[2..4].copy_from_slice(&to.to_be_bytes());
    tcp[4..8].copy_from_slice(&1u32.to_be_bytes());
    tcp[12] = 5 << 4;
    tcp[13] = 0x02;
    tcp[14..16].copy_from_slice(&64_000u16.to_be_bytes());
    let (mut header, pseudo) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            let pseudo = [&source.octets()[..], &destination.octets(), &[0, 6, 0, 20]].concat();
            (header, pseudo)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
            header.extend(source.octets());
            header.extend(destination.octets());
            let pseudo = [&source.octets()[..], &destination.octets(), &[0, 0, 0, 20, 0, 0, 0, 6]].concat();
            (header, pseudo)
        }
        _ => return None,
    };
    let sum = checksum(&[&pseudo, &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    header.extend(tcp);
    Some(header)
}

/// Internet checksum (RFC 1071) over parts of even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    let mut sum: u32 = words.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
