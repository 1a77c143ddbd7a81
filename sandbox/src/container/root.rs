//! A container's own root: an overlay of the host's, with the pod's files bound into it.
//!
//! Every container gets a mount namespace of its own, as Kubernetes has it: two containers of a pod may mount
//! different volumes at one path. What the container writes lands in a tmpfs that only this namespace knows,
//! so nothing of it stays on the host, and a mount point can be made anywhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::entry::{Entry, Mount};

/// Where the host's root stays while the mounts are made.
const HOST: &str = "/.host";
/// What no container may see.
const SANDBOXES: &str = "/run/heddle";
/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";
const NONE: Option<&str> = None;

pub(super) fn build(entry: &Entry) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What the host unmounts later goes here as well; what is mounted here never shows there.
    mount(NONE, "/", NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE)?;
    let submounts = submounts(&fs::read_to_string("/proc/self/mountinfo")?);
    pivot(&entry.root)?;
    // A copy of a mount keeps alive what it shows, so what nobody could see or should hold stays out.
    let hidden = entry.mounts.iter().map(|mount| mount.target.as_path());
    let left_out: Vec<&Path> = hidden.chain([SANDBOXES, NAMESPACES].map(Path::new)).collect();
    for path in submounts.into_iter().filter(|path| !left_out.iter().any(|out| path.starts_with(out))) {
        let host = Path::new(HOST).join(path.strip_prefix("/").unwrap_or(&path));
        // A mount point that is hidden below another mount cannot be shown, and need not be.
        if path.exists() && host.exists() {
            bind(&host, &path)?;
        }
    }
    hide_sandboxes()?;
    for target in &entry.mounts {
        show(target).map_err(|error| {
            io::Error::other(format!(
                "mount {} at {}: {error}",
                target.source.display(),
                target.target.display()
            ))
        })?;
    }
    show_program(entry)?;
    let pid_file = in_host(&entry.pid_file);
    let fresh = pid_file.with_extension("pid.new");
    fs::write(&fresh, std::process::id().to_string())?;
    fs::rename(&fresh, &pid_file)?;
    umount2(HOST, MntFlags::MNT_DETACH)?;
    fs::remove_dir(HOST)
}

fn pivot(scratch: &Path) -> io::Result<()> {
    mount(Some("heddle"), scratch, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
    let [upper, work, root] = ["upper", "work", "root"].map(|part| scratch.join(part));
    for directory in [&upper, &work, &root] {
        fs::create_dir(directory)?;
    }
    let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("heddle"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    let host = root.join(HOST.trim_start_matches('/'));
    fs::create_dir(&host)?;
    nix::unistd::pivot_root(&root, &host)?;
    std::env::set_current_dir("/")
}

/// No container reads the sandbox's own state: keys, tokens, sockets.
fn hide_sandboxes() -> io::Result<()> {
    let path = Path::new(SANDBOXES);
    fs::create_dir_all(path)?;
    Ok(mount(Some("heddle"), path, Some("tmpfs"), MsFlags::empty(), Some("mode=0700,size=4k"))?)
}

fn show(wanted: &Mount) -> io::Result<()> {
    let source = in_host(&wanted.source);
    if source.is_dir() {
        fs::create_dir_all(&wanted.target)?;
    } else {
        touch(&wanted.target)?;
    }
    bind(&source, &wanted.target)?;
    if wanted.read_only {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(NONE, &wanted.target, NONE, flags, NONE)?;
    }
    Ok(())
}

/// A program that a mount hides (one below /tmp, say) is shown again at its own path.
fn show_program(entry: &Entry) -> io::Result<()> {
    let Some(program) = entry.argv.first().map(Path::new).filter(|path| path.is_absolute()) else {
        return Ok(());
    };
    let host = in_host(program);
    if program.exists() || !host.is_file() {
        return Ok(());
    }
    touch(program)?;
    bind(&host, program)
}

fn touch(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // A dangling link (resolv.conf is often one) is replaced, in the overlay only.
    if path.is_symlink() {
        fs::remove_file(path)?;
    }
    fs::write(path, "")
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(mount(Some(source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?)
}

fn in_host(path: &Path) -> PathBuf {
    Path::new(HOST).join(path.strip_prefix("/").unwrap_or(path))
}

/// The mount points right below the root mount: each brings its own children along.
fn submounts(mountinfo: &str) -> Vec<PathBuf> {
    let fields = |line: &str| {
        let mut fields = line.split(' ');
        let (id, parent) = (fields.next()?.to_owned(), fields.next()?.to_owned());
        Some((id, parent, fields.nth(2)?.to_owned()))
    };
    let mounts: Vec<_> = mountinfo.lines().filter_map(fields).collect();
    let roots: Vec<_> = mounts.iter().filter(|(_, _, at)| at == "/").map(|(id, ..)| id.clone()).collect();
    let mut paths: Vec<_> = mounts
        .iter()
        .filter(|(_, parent, at)| at != "/" && roots.contains(parent))
        .map(|(.., at)| PathBuf::from(unescape(at)))
        .collect();
    paths.dedup();
    paths
}

/// mountinfo writes blanks as octal escapes.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_right_below_the_root_are_taken() {
        let text = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /proc rw - proc proc rw\n\
                    3 1 0:6 / /dev rw - devtmpfs d rw\n4 3 0:7 / /dev/pts rw - devpts d rw\n\
                    5 1 0:8 / /my\\040disk rw - ext4 d rw\n";
        assert_eq!(submounts(text), ["/proc", "/dev", "/my disk"].map(PathBuf::from));
    }
}
