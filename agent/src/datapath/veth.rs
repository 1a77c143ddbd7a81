//! Whether an interface of the node is the other end of a pod's veth: the guard must not stand at somebody else's.
//!
//! Only the host's side is asked: what is inside its namespace, a pod with CAP_NET_ADMIN may have made.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::NLM_F_REQUEST;
use netlink_sys::protocols::NETLINK_ROUTE;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};

use super::{netlink, netns};
use crate::pod::Pod;

/// Refuses a pod whose record names an interface that is not its veth's other end.
pub(super) fn confirm(pod: &Pod) -> Result<(), String> {
    let index = pod.host_ifindex;
    let wrong = |what: &str| format!("interface {index} of its record {what}");
    let failed = |error: io::Error| wrong(&format!("cannot be checked: {error}"));
    let Some(link) = link(index).map_err(failed)? else { return Err(wrong("does not exist")) };
    let attributes = &link.attributes;
    let is_veth = |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Veth));
    let is_veth = attributes
        .iter()
        .any(|each| matches!(each, LinkAttribute::LinkInfo(infos) if infos.iter().any(is_veth)));
    if !is_veth {
        return Err(wrong("is not a veth"));
    }
    let peer = attributes.iter().find_map(|each| match each {
        LinkAttribute::Link(peer) => Some(*peer),
        _ => None,
    });
    let leads_to = attributes.iter().find_map(|each| match each {
        LinkAttribute::LinkNetNsId(id) => Some(*id),
        _ => None,
    });
    if leads_to.is_none() || leads_to != number_of(pod.netns.as_fd()).map_err(failed)? {
        return Err(wrong("does not lead to its network namespace"));
    }
    let named = netns::interfaces_with(pod.netns.as_fd(), &pod.addresses).map_err(failed)?;
    match peer.filter(|peer| named.contains(peer)) {
        Some(_) => Ok(()),
        None => Err(wrong("leads to an interface of the pod that has none of its addresses")),
    }
}

/// None: there is no such interface here.
fn link(index: u32) -> io::Result<Option<LinkMessage>> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    let socket = netlink::ask(NETLINK_ROUTE, RouteNetlinkMessage::GetLink(question), NLM_F_REQUEST)?;
    match netlink::answer(&socket) {
        Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(Some(link)),
        Ok(_) => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the node's namespace calls another one; asking for a link that leads there has given it a number.
/// Source: rtnetlink(7), RTM_GETNSID; Linux 4.0.
fn number_of(netns: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut question = NsidMessage::default();
    question.attributes.push(NsidAttribute::Fd(netns.as_raw_fd().cast_unsigned()));
    let socket = netlink::ask(NETLINK_ROUTE, RouteNetlinkMessage::GetNsId(question), NLM_F_REQUEST)?;
    let Some(RouteNetlinkMessage::NewNsId(answer)) = netlink::answer(&socket)? else { return Ok(None) };
    Ok(answer.attributes.iter().find_map(|each| match each {
        NsidAttribute::Id(id) if *id >= 0 => Some(*id),
        _ => None,
    }))
}
