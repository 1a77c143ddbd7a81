//! A pod's `/etc/resolv.conf` and `/etc/hosts`, read through one of its processes.
//!
//! What is in them, and what stands in their place, is the pod's to choose: a link leads nowhere outside its own root, a pipe or
//! a device is not opened, and no more is read than a resolver needs.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use crate::node::Proc;
use crate::pod::Pod;

/// Of one file.
const LONGEST: u64 = 64 * 1024;
/// The agent's own: where a pod has no process of its own yet.
const OWN: &str = "/etc/resolv.conf";

/// What a pod resolves by.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) resolv_conf: Vec<u8>,
    pub(super) hosts: Vec<u8>,
}

/// Those of a pod; blocks while it looks for one of its processes.
pub(super) fn of(pod: &Pod, proc: &Proc) -> io::Result<Files> {
    let netns = fstat(pod.netns.as_fd())?;
    let own = std::fs::metadata("/proc/self/ns/mnt")?.ino();
    for pid in proc.pids() {
        // A process may end at any moment; what is opened stays with the one that was there.
        if let Ok(Some(files)) = of_process(&proc.file(pid, ""), &netns, own) {
            return Ok(files);
        }
    }
    Ok(Files { resolv_conf: std::fs::read(OWN)?, hosts: Vec::new() })
}

/// `None`: it is not one of the pod's containers, or has no servers.
fn of_process(process: &std::path::Path, netns: &FileStat, own: u64) -> io::Result<Option<Files>> {
    let folder = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
    let process = open(process, folder, Mode::empty())?;
    let of = |namespace: &str| fstatat(process.as_fd(), namespace, nix::fcntl::AtFlags::empty());
    let network = of("ns/net")?;
    if (network.st_ino, network.st_dev) != (netns.st_ino, netns.st_dev) || of("ns/mnt")?.st_ino == own {
        return Ok(None);
    }
    let root = openat(process.as_fd(), "root", folder, Mode::empty())?;
    let resolv_conf = read(&root, "etc/resolv.conf")?;
    let names_a_server =
        String::from_utf8_lossy(&resolv_conf).lines().any(|line| line.trim_start().starts_with("nameserver"));
    if !names_a_server {
        return Ok(None);
    }
    Ok(Some(Files { hosts: read(&root, "etc/hosts").unwrap_or_default(), resolv_conf }))
}

fn read(root: &OwnedFd, path: &str) -> io::Result<Vec<u8>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(root.as_fd(), path, how)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_pod_puts_in_the_place_of_a_file_leads_nowhere_else_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let root = OwnedFd::from(File::open(folder.path()).unwrap());
        std::fs::write(etc.join("plain"), "nameserver 192.0.2.1\n").unwrap();
        symlink("/etc/plain", etc.join("inside")).unwrap();
        symlink("../../../../../../etc/plain", etc.join("climbing")).unwrap();
        symlink("/etc/passwd", etc.join("outside")).unwrap();
        symlink("/proc/self/environ", etc.join("magic")).unwrap();
        nix::unistd::mkfifo(&etc.join("pipe"), Mode::S_IRWXU).unwrap();
        std::fs::write(etc.join("endless"), vec![b'#'; 1 << 20]).unwrap();
        for name in ["plain", "inside", "climbing"] {
            assert_eq!(read(&root, &format!("etc/{name}")).unwrap(), b"nameserver 192.0.2.1\n", "{name}");
        }
        for name in ["outside", "magic", "pipe", "../etc"] {
            assert!(read(&root, &format!("etc/{name}")).is_err(), "{name}");
        }
        assert_eq!(read(&root, "etc/endless").unwrap().len() as u64, LONGEST);
    }
}
