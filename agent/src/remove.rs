//! `heddle-agent remove`: nothing of an agent stays on its node, and pods that run talk directly again.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::datapath::{self, DatapathError};
use crate::node::{self, Located, NodeError, Places, Proc};
use crate::process::{self, ProcessError};

/// What our mounts call their source: the bpffs, and the tmpfs of keys.
const SOURCES: [&str; 2] = ["heddle", "heddle-keys"];
/// The folder of a sandbox has one, and is the sandbox's.
const SANDBOX: &str = "sandbox.json";

/// Where the agent was.
#[derive(Debug, Args)]
pub struct Remove {
    /// Name of this node, as the agent had it.
    #[arg(long, env = "HEDDLE_AGENT_NODE")]
    node: String,

    /// Everything that the agent kept; what is in it is deleted.
    #[arg(long, value_name = "DIR", default_value = "/run/heddle")]
    run_dir: PathBuf,

    /// Directory of pinned eBPF objects. auto: /run/heddle/bpf of the node.
    #[arg(long, env = "HEDDLE_AGENT_BPFFS", value_name = "DIR", default_value = "auto")]
    bpffs: PathBuf,

    /// Root of cgroup v2. auto: that of the node.
    #[arg(long, env = "HEDDLE_AGENT_CGROUP", value_name = "PATH", default_value = "auto")]
    cgroup: PathBuf,

    /// A proc file system that shows the node's processes: in a pod, /proc with hostPID.
    #[arg(long, env = "HEDDLE_AGENT_PROC", value_name = "DIR", default_value = "/proc")]
    proc: PathBuf,
}

/// Why something of ours is still there.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It would put everything back.
    #[error("an agent runs on this node ({0}): stop it first")]
    Running(String),
    /// Not root.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The node is not visible.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The kernel keeps something.
    #[error(transparent)]
    Datapath(DatapathError),
    /// A file, a mount or a cgroup.
    #[error("{0}: {1}")]
    System(String, #[source] io::Error),
}

impl From<DatapathError> for RemoveError {
    fn from(error: DatapathError) -> Self {
        match error {
            DatapathError::Taken(path) => Self::Running(format!("it holds {path}")),
            other => Self::Datapath(other),
        }
    }
}

fn doing(what: &Path) -> impl FnOnce(io::Error) -> RemoveError {
    let what = what.display().to_string();
    move |error| RemoveError::System(what, error)
}

impl Remove {
    /// Removes, and says what; a second time there is nothing.
    ///
    /// # Errors
    /// See [`RemoveError`]. What was removed before stays removed.
    pub fn run(&self) -> Result<Vec<String>, RemoveError> {
        process::require_root()?;
        let places =
            Places { cgroup: self.cgroup.clone(), bpffs: self.bpffs.clone(), prober: PathBuf::new() };
        let Located { mounts, cgroup, bpffs, proc, .. } = node::locate(&Proc::at(&self.proc), &places)?;
        let run_dir = self.run_dir.clone();
        let mut said = within(mounts, move || clean(&bpffs, &run_dir))?;
        if let Some(cgroup) = cgroup {
            let home = node::leave(&proc, &cgroup, &self.node);
            if let Some(home) = home.map_err(doing(Path::new("cgroup of the kubelet")))? {
                said.push(format!("the kubelet is back in {}", node::as_of_node(&home).display()));
            }
        }
        Ok(said)
    }
}

/// On a thread in the node's mount namespace: mounts and pins are seen there as the agent made them.
fn within<T: Send + 'static>(
    mounts: Option<PathBuf>,
    work: impl FnOnce() -> Result<T, RemoveError> + Send + 'static,
) -> Result<T, RemoveError> {
    let entered = move || {
        if let Some(path) = mounts {
            let enter = || -> io::Result<()> {
                let namespace = File::open(&path)?;
                unshare(CloneFlags::CLONE_FS)?;
                Ok(setns(namespace, CloneFlags::CLONE_NEWNS)?)
            };
            enter().map_err(doing(&path))?;
        }
        work()
    };
    thread::spawn(entered)
        .join()
        .unwrap_or_else(|_panic| Err(doing(Path::new("a thread"))(io::ErrorKind::Other.into())))
}

fn clean(bpffs: &Path, run_dir: &Path) -> Result<Vec<String>, RemoveError> {
    refuse_beside_an_agent(run_dir)?;
    let mut said = Vec::new();
    let removed = datapath::remove(bpffs)?;
    if removed.links + removed.folders > 0 {
        said.push(format!("{} links and filters detached; pods talk directly", removed.links));
    }
    for point in mounts_of_ours(bpffs, run_dir)? {
        // What still holds it open, our lock too, loses it when it closes.
        umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .map_err(io::Error::from)
            .map_err(doing(&point))?;
        said.push(format!("{} unmounted", point.display()));
    }
    let deleted = delete_content(run_dir)?;
    if deleted > 0 {
        said.push(format!("{} emptied", run_dir.display()));
    }
    // Somebody may have it mounted, or its sandboxes in it.
    let _kept = fs::remove_dir(run_dir);
    Ok(said)
}

/// The lock of the pins says the same, once there are pins.
fn refuse_beside_an_agent(run_dir: &Path) -> Result<(), RemoveError> {
    let socket = run_dir.join("agent.sock");
    if UnixStream::connect(&socket).is_ok() {
        return Err(RemoveError::Running(format!("it answers at {}", socket.display())));
    }
    let lock = run_dir.join("cni.lock");
    let Ok(file) = File::open(&lock) else { return Ok(()) };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Err((_, nix::Error::EWOULDBLOCK)) => {
            Err(RemoveError::Running(format!("it holds {}", lock.display())))
        }
        _ => Ok(()),
    }
}

/// The bpffs and the tmpfs of keys, the deepest first. Source: proc_pid_mountinfo(5).
fn mounts_of_ours(bpffs: &Path, run_dir: &Path) -> Result<Vec<PathBuf>, RemoveError> {
    let path = Path::new("/proc/thread-self/mountinfo");
    let mountinfo = fs::read_to_string(path).map_err(doing(path))?;
    let of_ours = |line: &str| -> Option<PathBuf> {
        let (fields, rest) = line.split_once(" - ")?;
        let point = PathBuf::from(fields.split(' ').nth(4)?);
        let below = point.strip_prefix(run_dir).ok().and_then(|rest| rest.components().next());
        let in_sandbox = below.is_some_and(|first| run_dir.join(first).join(SANDBOX).exists());
        let source = rest.split(' ').nth(1)?;
        let is_ours = (point == bpffs || below.is_some()) && SOURCES.contains(&source);
        (is_ours && !in_sandbox).then_some(point)
    };
    let mut points: Vec<PathBuf> = mountinfo.lines().filter_map(of_ours).collect();
    points.reverse();
    Ok(points)
}

/// Everything in the folder but sandboxes. How many entries went.
fn delete_content(run_dir: &Path) -> Result<usize, RemoveError> {
    let entries = match fs::read_dir(run_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(doing(run_dir)(error)),
    };
    let mut deleted = 0;
    for entry in entries {
        let entry = entry.map_err(doing(run_dir))?;
        let path = entry.path();
        let is_folder = entry.file_type().map_err(doing(&path))?.is_dir();
        if is_folder && path.join(SANDBOX).exists() {
            continue;
        }
        let done = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        done.map_err(doing(&path))?;
        deleted += 1;
    }
    Ok(deleted)
}
