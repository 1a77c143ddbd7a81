//! A path that is to be a pod's network namespace, and what the kernel says about it.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::{netns, veth};
use crate::pod::NetnsCookie;

/// A namespace that holds a pod's addresses behind a veth of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which namespace.
    pub cookie: NetnsCookie,
    /// The node's end of the veth.
    pub host_ifindex: u32,
    /// Its name.
    pub host_interface: String,
}

/// Looks at a namespace; blocks, and changes the calling thread's namespace meanwhile.
///
/// # Errors
/// Why it is not, or cannot be, the pod's.
pub fn look(path: &Path, addresses: &[IpAddr]) -> Result<Place, String> {
    let (netns, cookie) = open(path, addresses)?;
    of(&netns, cookie, addresses)
}

/// Whether a path certainly does not lead to this namespace any more. What cannot be told is no.
pub fn is_gone(path: &Path, meant: NetnsCookie) -> bool {
    let found = File::open(path).and_then(|netns| netns::cookie(netns.as_fd()));
    let untold = [libc::EACCES, libc::EPERM, libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    match found {
        Ok(cookie) => cookie != meant,
        Err(error) => !error.raw_os_error().is_some_and(|code| untold.contains(&code)),
    }
}

/// The same of one that is open.
pub(super) fn of(netns: &OwnedFd, cookie: NetnsCookie, addresses: &[IpAddr]) -> Result<Place, String> {
    let (host_ifindex, host_interface) = veth::host_side(netns.as_fd(), addresses)?;
    Ok(Place { cookie, host_ifindex, host_interface })
}

/// Opens a namespace that must hold the addresses, and not be the node's.
pub(super) fn open(path: &Path, addresses: &[IpAddr]) -> Result<(OwnedFd, NetnsCookie), String> {
    let shown = path.display();
    let netns: OwnedFd =
        File::open(path).map_err(|error| format!("network namespace {shown}: {error}"))?.into();
    let cookie = netns::cookie(netns.as_fd()).map_err(|error| format!("{shown}: {error}"))?;
    if netns::own_cookie().is_ok_and(|own| own == cookie) {
        return Err(format!("{shown} is the node's own network namespace"));
    }
    let found = netns::addresses(netns.as_fd()).map_err(|error| format!("addresses of {shown}: {error}"))?;
    if addresses.is_empty() {
        return Err("it has no address".to_owned());
    }
    match addresses.iter().find(|ip| !found.contains(ip)) {
        Some(absent) => Err(format!("its address {absent} is not in {shown}")),
        None => Ok((netns, cookie)),
    }
}
