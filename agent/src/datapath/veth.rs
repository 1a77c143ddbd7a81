//! Whether an interface of the node is the other end of a pod's veth: the guard must not stand at somebody else's.
//!
//! Only the host's side is asked: what is inside its namespace, a pod with CAP_NET_ADMIN may have made.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::NLM_F_REQUEST;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::net::if_::if_nameindex;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};

use super::{netlink, netns};

/// Refuses an interface that is not the other end of the veth that has a pod's addresses in its namespace.
pub(super) fn confirm(index: u32, netns: BorrowedFd<'_>, addresses: &[IpAddr]) -> Result<(), String> {
    let wrong = |what: &str| format!("interface {index} of its record {what}");
    let failed = |error: io::Error| wrong(&format!("cannot be checked: {error}"));
    let Some(link) = link(index).map_err(failed)? else { return Err(wrong("does not exist")) };
    let Some(end) = End::of(&link) else { return Err(wrong("is not a veth")) };
    if end.leads_to.is_none() || end.leads_to != number_of(netns).map_err(failed)? {
        return Err(wrong("does not lead to its network namespace"));
    }
    let named = netns::interfaces_with(netns, addresses).map_err(failed)?;
    match end.peer.filter(|peer| named.contains(peer)) {
        Some(_) => Ok(()),
        None => Err(wrong("leads to an interface of the pod that has none of its addresses")),
    }
}

/// Index and name of the node's end of the veth that has these addresses in that namespace.
pub(super) fn host_side(netns: BorrowedFd<'_>, addresses: &[IpAddr]) -> Result<(u32, String), String> {
    let failed = |error: io::Error| format!("interfaces of the node: {error}");
    let interfaces = if_nameindex().map_err(|error| failed(error.into()))?;
    let mut ends = Vec::new();
    for interface in &interfaces {
        // One that went meanwhile was not it.
        let end = link(interface.index()).map_err(failed)?.as_ref().and_then(End::of);
        ends.extend(end.map(|end| (interface, end)));
    }
    let (number, named) =
        (number_of(netns).map_err(failed)?, netns::interfaces_with(netns, addresses).map_err(failed)?);
    let is_its = |end: &End| {
        end.leads_to.is_some() && end.leads_to == number && end.peer.is_some_and(|peer| named.contains(&peer))
    };
    let found = ends.iter().find(|(_, end)| is_its(end));
    let absent = "no veth of this node leads to the pod's addresses: Heddle captures pods behind a veth only";
    found
        .map(|(interface, _)| (interface.index(), interface.name().to_string_lossy().into_owned()))
        .ok_or_else(|| absent.to_owned())
}

/// Where the node's end of a veth leads.
struct End {
    /// Index of the other end, in its own namespace.
    peer: Option<u32>,
    /// That namespace, as the node's numbers it.
    leads_to: Option<i32>,
}

impl End {
    /// None: it is no veth.
    fn of(link: &LinkMessage) -> Option<Self> {
        let is_veth = |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Veth));
        let (mut veth, mut end) = (false, Self { peer: None, leads_to: None });
        for each in &link.attributes {
            match each {
                LinkAttribute::LinkInfo(infos) => veth |= infos.iter().any(is_veth),
                LinkAttribute::Link(peer) => end.peer = Some(*peer),
                LinkAttribute::LinkNetNsId(id) => end.leads_to = Some(*id),
                _ => {}
            }
        }
        veth.then_some(end)
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
