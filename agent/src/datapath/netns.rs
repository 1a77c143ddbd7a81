//! Work inside another network namespace, on the calling thread, without an await in between.

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Socket, Type};

use crate::pod::NetnsCookie;

/// Linux 5.14; not in libc yet.
const SO_NETNS_COOKIE: libc::c_int = 71;

thread_local! {
    /// The namespace that this thread lives in.
    static HOME: OnceCell<File> = const { OnceCell::new() };
}

/// Runs `work` in the namespace. A thread that cannot come back would give one pod's sockets to another: the process ends.
pub(super) fn inside<R>(netns: BorrowedFd<'_>, work: impl FnOnce() -> R) -> io::Result<R> {
    HOME.with(|home| {
        if home.get().is_none() {
            let _ = home.set(File::open("/proc/thread-self/ns/net")?);
        }
        let Some(home) = home.get() else { return Err(io::ErrorKind::NotFound.into()) };
        setns(netns, CloneFlags::CLONE_NEWNET)?;
        let returning = Return(home);
        let result = work();
        drop(returning);
        Ok(result)
    })
}

struct Return<'a>(&'a File);

impl Drop for Return<'_> {
    fn drop(&mut self) {
        if let Err(error) = setns(self.0, CloneFlags::CLONE_NEWNET) {
            tracing::error!(%error, "cannot return from a pod's network namespace");
            std::process::abort();
        }
    }
}

/// The namespace's cookie.
pub(super) fn cookie(netns: BorrowedFd<'_>) -> io::Result<NetnsCookie> {
    inside(netns, own_cookie)?
}

/// The cookie of the namespace that the calling thread is in.
pub(super) fn own_cookie() -> io::Result<NetnsCookie> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or_default();
    // SAFETY: the option writes a u64, and `length` says so.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(NetnsCookie(cookie))
}

/// Every address of the namespace.
pub(super) fn addresses(netns: BorrowedFd<'_>) -> io::Result<Vec<IpAddr>> {
    let interfaces = inside(netns, nix::ifaddrs::getifaddrs)??;
    Ok(interfaces.filter_map(|interface| ip(&interface.address?)).collect())
}

/// Indices of the namespace's interfaces that have one of these addresses.
pub(super) fn interfaces_with(netns: BorrowedFd<'_>, addresses: &[IpAddr]) -> io::Result<Vec<u32>> {
    inside(netns, || {
        let has_one = |interface: &nix::ifaddrs::InterfaceAddress| {
            let address = interface.address.as_ref().and_then(ip);
            address.is_some_and(|address| addresses.contains(&address))
        };
        let found = nix::ifaddrs::getifaddrs()?.filter(has_one);
        Ok(found
            .filter_map(|each| nix::net::if_::if_nametoindex(each.interface_name.as_str()).ok())
            .collect())
    })?
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// Sets a sysctl of the namespace, where it has it.
pub(super) fn set_sysctl(netns: BorrowedFd<'_>, path: &Path, value: &str) -> io::Result<()> {
    match inside(netns, || std::fs::write(path, value))? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
