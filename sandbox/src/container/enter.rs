//! The process that becomes a container's: joins cgroup and namespaces, then executes the program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use crate::cgroup::Cgroup;

use super::entry::Entry;
use super::root;

/// How long a container's start may take until somebody who wants to enter it gives up.
const START: Duration = Duration::from_secs(3);

/// `join NETNS CGROUP -- PROGRAM ARG…`: namespace and cgroup, the rest as the caller has it.
pub fn join(args: &[OsString]) -> io::Result<()> {
    let [netns, cgroup, dashes, program, args @ ..] = args else {
        return Err(io::Error::other("join NETNS CGROUP -- PROGRAM ARG…"));
    };
    if dashes != "--" {
        return Err(io::Error::other("join NETNS CGROUP -- PROGRAM ARG…"));
    }
    let netns = File::open(netns)?;
    Cgroup::at(cgroup).enter()?;
    setns(&netns, CloneFlags::CLONE_NEWNET)?;
    Err(Command::new(program).args(args).exec())
}

/// `enter FILE`: the container's own process. `enter FILE -- PROGRAM ARG…`: one more beside it.
pub fn enter(args: &[OsString]) -> io::Result<()> {
    match args {
        [file] => start(&Entry::read(Path::new(file))?),
        [file, dashes, argv @ ..] if dashes == "--" && !argv.is_empty() => {
            beside(&Entry::read(Path::new(file))?, argv)
        }
        _ => Err(io::Error::other("enter FILE [-- PROGRAM ARG…]")),
    }
}

fn start(entry: &Entry) -> io::Result<()> {
    nix::unistd::setsid()?;
    let (netns, uts) = (File::open(&entry.netns)?, File::open(&entry.uts)?);
    join_cgroup(entry)?;
    setns(&netns, CloneFlags::CLONE_NEWNET)?;
    setns(&uts, CloneFlags::CLONE_NEWUTS)?;
    root::build(entry)?;
    let argv: Vec<&OsStr> = entry.argv.iter().map(OsStr::new).collect();
    execute(entry, &argv)
}

fn beside(entry: &Entry, argv: &[OsString]) -> io::Result<()> {
    let pid = running(entry)?;
    let namespaces = [
        (entry.netns.clone(), CloneFlags::CLONE_NEWNET),
        (entry.uts.clone(), CloneFlags::CLONE_NEWUTS),
        (format!("/proc/{pid}/ns/mnt").into(), CloneFlags::CLONE_NEWNS),
    ];
    let files = namespaces.map(|(path, flag)| (File::open(path), flag));
    join_cgroup(entry)?;
    for (file, flag) in files {
        setns(file?, flag)?;
    }
    let argv: Vec<&OsStr> = argv.iter().map(OsString::as_os_str).collect();
    execute(entry, &argv)
}

/// The container's process id, checked against reuse by its cgroup. A container whose root is just being put
/// together has none yet, and is waited for.
fn running(entry: &Entry) -> io::Result<u32> {
    let gone = |_cause| io::Error::new(io::ErrorKind::NotConnected, "the container is not running");
    let deadline = Instant::now() + START;
    while !entry.pid_file.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid: u32 =
        std::fs::read_to_string(&entry.pid_file).map_err(gone)?.trim().parse().map_err(io::Error::other)?;
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(gone)?;
    let own = Cgroup::root()?.path().to_owned();
    let expected = entry.cgroup.strip_prefix(own).map_err(io::Error::other)?;
    let expected = format!("0::/{}", expected.display());
    if groups.lines().any(|line| line == expected) {
        Ok(pid)
    } else {
        Err(gone(io::Error::other("another process has its id")))
    }
}

fn join_cgroup(entry: &Entry) -> io::Result<()> {
    Cgroup::at(&entry.cgroup).enter()
}

fn execute(entry: &Entry, argv: &[&OsStr]) -> io::Result<()> {
    let Some((program, args)) = argv.split_first() else {
        return Err(io::Error::other("no command"));
    };
    std::env::set_current_dir(&entry.cwd)
        .map_err(|error| io::Error::other(format!("working directory {}: {error}", entry.cwd)))?;
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(entry.env.iter().map(|(k, v)| (k, v)));
    if let Some(group) = entry.group {
        command.gid(group);
    }
    if let Some(user) = entry.user {
        command.uid(user);
    }
    let error = command.exec();
    Err(io::Error::new(error.kind(), format!("cannot run {}: {error}", program.display())))
}

/// As shells have it: 127 for what is not there, 126 for what cannot be run; 125 for a failure of ours.
pub fn exit_code(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::NotFound => 127,
        io::ErrorKind::PermissionDenied => 126,
        _ => 125,
    }
}
