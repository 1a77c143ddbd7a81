//! TCP sockets of the calling thread's network namespace: listed and destroyed through SOCK_DIAG.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, Nla as _};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::netlink;

pub(super) use netlink_packet_sock_diag::inet::{InetResponse, StateFlags};

/// Source: include/uapi/linux/inet_diag.h, Linux 5.9.
const INET_DIAG_CGROUP_ID: u16 = 21;

/// Sockets in these states, of both families.
pub(super) fn sockets(states: StateFlags) -> io::Result<Vec<InetResponse>> {
    let mut found = of_family(AF_INET, states.clone())?;
    found.append(&mut of_family(AF_INET6, states)?);
    Ok(found)
}

/// The cgroup of the process that made the socket.
pub(super) fn owner(socket: &InetResponse) -> Option<u64> {
    socket.nlas.iter().find_map(|nla| match nla {
        Nla::Other(other) if other.kind() == INET_DIAG_CGROUP_ID => {
            let mut value = [0; 8];
            (other.value_len() == value.len()).then(|| other.emit_value(&mut value))?;
            Some(u64::from_ne_bytes(value))
        }
        _ => None,
    })
}

fn of_family(family: u8, states: StateFlags) -> io::Result<Vec<InetResponse>> {
    let unspecified = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let request = request(family, states, unspecified);
    let socket =
        netlink::ask(NETLINK_SOCK_DIAG, SockDiagMessage::InetRequest(request), NLM_F_REQUEST | NLM_F_DUMP)?;
    let mut found = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    found.push(*response)
                }
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Ends a connection, with a reset to both sides.
pub(super) fn destroy(target: &InetResponse) -> io::Result<()> {
    let header = &target.header;
    let id = widen(header.socket_id.clone(), header.family);
    let request = request(header.family, StateFlags::all(), id);
    let message = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
    let socket = netlink::ask(NETLINK_SOCK_DIAG, message, NLM_F_REQUEST | NLM_F_ACK)?;
    match netlink::answer::<SockDiagMessage>(&socket) {
        // Gone meanwhile is as good.
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// The reader may have made a v4-mapped address an IPv4 one; the kernel wants the socket's own family back.
fn widen(mut id: SocketId, family: u8) -> SocketId {
    if family == AF_INET6 {
        for address in [&mut id.source_address, &mut id.destination_address] {
            if let IpAddr::V4(v4) = *address {
                *address = IpAddr::V6(v4.to_ipv6_mapped());
            }
        }
    }
    id
}

fn request(family: u8, states: StateFlags, socket_id: SocketId) -> InetRequest {
    InetRequest { family, protocol: IPPROTO_TCP, extensions: ExtensionFlags::empty(), states, socket_id }
}
