//! The `bpf(2)` calls that the loader library does not offer: typed map access by any thread, links by pin.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::bpf_cmd;

/// Source: `union bpf_attr`, the map element part.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The object part.
#[repr(C)]
#[derive(Default)]
struct ObjectAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The link_create part.
#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    zero: u32,
    expected_revision: u64,
}

/// The link_update part.
#[repr(C)]
#[derive(Default)]
struct LinkUpdateAttr {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// The info part.
#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

/// Source: `struct bpf_link_info`.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    zero: u32,
    target: u64,
    rest: [u64; 8],
}

/// A map element call; `value` may be null where the command has none.
pub(super) fn element(
    command: bpf_cmd,
    map: BorrowedFd<'_>,
    key: *const u8,
    value: *mut u8,
    flags: u64,
) -> io::Result<()> {
    let mut attr =
        ElementAttr { map_fd: raw(map.as_raw_fd()), zero: 0, key: key as u64, value: value as u64, flags };
    call(command, &mut attr).map(drop)
}

/// Opens what is pinned at a path.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    let fd = call(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins an object.
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr { path: path.as_ptr() as u64, fd: raw(fd.as_raw_fd()), flags: 0 };
    call(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Attaches a program; `target` is a descriptor or an ifindex, as the attach type has it.
pub(super) fn create_link(
    program: BorrowedFd<'_>,
    target: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreateAttr {
        program: raw(program.as_raw_fd()),
        target,
        attach_type,
        flags,
        ..LinkCreateAttr::default()
    };
    let fd = call(bpf_cmd::BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces the program of a link atomically.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr {
        link: raw(link.as_raw_fd()),
        program: raw(program.as_raw_fd()),
        ..LinkUpdateAttr::default()
    };
    call(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Detaches a link at once; its last reference would do so some time later.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr { link: raw(link.as_raw_fd()), ..LinkUpdateAttr::default() };
    call(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// What a link hangs on: a cgroup id, or (in the low half) an ifindex or a namespace's inode.
pub(super) fn link_target(link: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = LinkInfo::default();
    let mut attr = InfoAttr {
        fd: raw(link.as_raw_fd()),
        length: u32::try_from(size_of::<LinkInfo>()).unwrap_or_default(),
        info: (&raw mut info) as u64,
    };
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info.target)
}

fn call<A>(command: bpf_cmd, attr: &mut A) -> io::Result<RawFd> {
    // SAFETY: `attr` is a prefix of union bpf_attr for this command, and every pointer in it outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, attr, size_of::<A>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

fn raw(fd: RawFd) -> u32 {
    fd.cast_unsigned()
}
