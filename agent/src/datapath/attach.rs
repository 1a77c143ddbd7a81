//! Links that outlive the agent: found at their pin and given the new program, or made and pinned.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use aya_obj::generated::{BPF_F_BEFORE, bpf_attach_type};

use super::bpf;

/// What a program is attached to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// A cgroup and its id.
    Cgroup(BorrowedFd<'a>, u64),
    /// A network namespace and its inode.
    Netns(BorrowedFd<'a>, u64),
    /// An interface of the agent's own namespace.
    Interface(u32),
}

impl Target<'_> {
    fn raw(self) -> u32 {
        match self {
            Target::Cgroup(fd, _) | Target::Netns(fd, _) => fd.as_raw_fd().cast_unsigned(),
            Target::Interface(index) => index,
        }
    }

    /// Ours runs before any other program at an interface; elsewhere there is no order to ask for.
    fn flags(self) -> u32 {
        match self {
            Target::Interface(_) => BPF_F_BEFORE,
            Target::Cgroup(..) | Target::Netns(..) => 0,
        }
    }

    /// Whether a link that reports this is attached here.
    fn is(self, reported: u64) -> bool {
        match self {
            Target::Cgroup(_, id) => reported == id,
            Target::Netns(_, inode) => reported & u64::from(u32::MAX) == inode,
            Target::Interface(index) => reported & u64::from(u32::MAX) == u64::from(index),
        }
    }
}

/// After this the program runs at the target, by the link at the pin. A live link is never detached in between.
pub(super) fn ensure(
    pin: &Path,
    program: BorrowedFd<'_>,
    target: Target<'_>,
    kind: bpf_attach_type,
) -> io::Result<()> {
    if adopt(pin, program, target)? {
        return Ok(());
    }
    let link = bpf::create_link(program, target.raw(), kind as u32, target.flags())?;
    bpf::pin(link.as_fd(), pin)
}

/// Detaches, now: the program has ended when this returns, so that its maps can be cleared.
pub(super) fn remove(pin: &Path) -> io::Result<()> {
    match bpf::open_pin(pin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        // A link whose target is gone is detached already.
        Ok(link) => drop(bpf::detach_link(link.as_fd())),
    }
    std::fs::remove_file(pin)
}

/// Gives the pinned link the program. A link whose target is gone, or another, is removed.
fn adopt(pin: &Path, program: BorrowedFd<'_>, target: Target<'_>) -> io::Result<bool> {
    let link = match bpf::open_pin(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let here = target.is(bpf::link_target(link.as_fd())?);
    if here && bpf::update_link(link.as_fd(), program).is_ok() {
        return Ok(true);
    }
    remove(pin)?;
    Ok(false)
}
