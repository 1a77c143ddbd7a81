//! Netlink, one question at a time, in the network namespace of the calling thread.

use std::io;

use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// Sends a question and returns the socket that its answers come to.
pub(super) fn ask<M: NetlinkSerializable>(protocol: isize, message: M, flags: u16) -> io::Result<Socket>
where
    NetlinkPayload<M>: From<M>,
{
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    Ok(socket)
}

/// The one answer to a question, unless it is an error.
pub(super) fn answer<M>(socket: &Socket) -> io::Result<Option<M>>
where
    M: NetlinkDeserializable,
{
    let (bytes, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<M>::deserialize(&bytes).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        _ => Ok(None),
    }
}
