//! Ends the plaintext connections of a pod that became STRICT: SOCK_DESTROY, inside its namespace.
//!
//! Only the application's own sockets: what the agent accepted or dialled is in its live table, and judged again there.

use std::io;
use std::os::fd::AsFd;

use heddle_abi::TUNNEL_PORT;

use super::diag::{self, InetResponse, StateFlags};
use super::netns;
use crate::pod::Pod;

/// Destroys the application's connections on ports that `strict` names, except those that never leave the pod.
pub(super) fn plaintext(pod: &Pod, own_cgroup: u64, strict: impl Fn(u16) -> bool) -> io::Result<usize> {
    let states =
        StateFlags::ESTABLISHED | StateFlags::SYN_SENT | StateFlags::FIN_WAIT1 | StateFlags::CLOSE_WAIT;
    netns::inside(pod.netns.as_fd(), || {
        let mut destroyed = 0;
        for socket in diag::sockets(states)? {
            if is_doomed(pod, &socket, own_cgroup, &strict) {
                diag::destroy(&socket)?;
                destroyed += 1;
            }
        }
        Ok(destroyed)
    })?
}

fn is_doomed(pod: &Pod, socket: &InetResponse, own_cgroup: u64, strict: &impl Fn(u16) -> bool) -> bool {
    let id = &socket.header.socket_id;
    let remote = id.destination_address.to_canonical();
    let inside = pod.owns(remote) || remote.is_loopback();
    !inside
        && id.source_port != TUNNEL_PORT
        && strict(id.source_port)
        && diag::owner(socket) != Some(own_cgroup)
}
