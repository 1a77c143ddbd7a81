//! Options that say `auto`: found out from the node's own processes and mounts, and checked.

use std::fs::{self, File};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

use super::cgroup;
use super::kubelet::Kubelet;
use super::prober::Prober;
use super::processes::Proc;
use super::roots::NodeRoots;
use crate::process::own_cgroup_below;

/// What to find out.
const AUTO: &str = "auto";
/// An own bpffs, in the node's mount namespace: a container's own mount would go with it, and the links with the mount.
const BPFFS: &str = "/run/heddle/bpf";

/// As the options say: a path, or `auto`.
#[derive(Clone, Debug)]
pub struct Places {
    /// Root of cgroup2.
    pub cgroup: PathBuf,
    /// Where to pin.
    pub bpffs: PathBuf,
    /// The kubelet's cgroup.
    pub prober: PathBuf,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Detected {
    /// Root of cgroup2.
    pub cgroup: PathBuf,
    /// Where to pin.
    pub bpffs: PathBuf,
    /// The kubelet's cgroup, where it is known.
    pub prober: Option<PathBuf>,
    /// Follows the kubelet, where that was asked for.
    pub follow: Option<Prober>,
    /// The node's file system.
    pub roots: NodeRoots,
}

/// Why the node cannot be found out about.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Neither kubelet nor init.
    #[error(
        "no process of this node is visible: in a pod the agent needs hostPID, hostNetwork and CAP_SYS_PTRACE; else give --cgroup, --bpffs and --prober-cgroup"
    )]
    NoNode,
    /// No cgroup2 that contains us.
    #[error(
        "no cgroup2 file system of this node contains this process (looked at: {0}); mount one, or give --cgroup"
    )]
    NoCgroup2(String),
    /// The system refused.
    #[error("{0}: {1}")]
    System(String, #[source] io::Error),
}

fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> NodeError {
    let what = what.into();
    move |error| NodeError::System(what, error)
}

impl Places {
    /// Whether there is anything to find out.
    pub fn any_auto(&self) -> bool {
        [&self.cgroup, &self.bpffs, &self.prober].iter().any(|path| is_auto(path))
    }

    /// As they are; what says `auto` is none.
    pub fn as_given(&self) -> Detected {
        Detected {
            cgroup: self.cgroup.clone(),
            bpffs: self.bpffs.clone(),
            prober: Some(self.prober.clone()),
            follow: None,
            roots: NodeRoots::default(),
        }
    }
}

/// Finds out. Enters the node's cgroup namespace, and a cgroup of its own where it shares the root, so it must be called before
/// there are other threads.
///
/// # Errors
/// What is missing, and what to do.
pub fn detect(proc: &Proc, node: &str, wanted: &Places) -> Result<Detected, NodeError> {
    let process = node_process(proc).ok_or(NodeError::NoNode)?;
    let root = root_of(proc, process)?;
    enter_cgroup_namespace(proc, process)?;
    let proc = &proc.again();
    let at = |path: &Path| match &root {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    };
    let cgroup = if is_auto(&wanted.cgroup) {
        let cgroup = find_cgroup(proc, process, &at)?;
        leave_root(&cgroup, node)?;
        cgroup
    } else {
        wanted.cgroup.clone()
    };
    let bpffs = if is_auto(&wanted.bpffs) {
        if root.is_some() {
            mount_bpffs(proc, process)?;
        }
        at(Path::new(BPFFS))
    } else {
        wanted.bpffs.clone()
    };
    let mut follow = is_auto(&wanted.prober).then(|| Prober::new(proc.clone(), cgroup.clone(), node));
    let prober = match &mut follow {
        // What is wrong is said, again and again, by the task that follows it.
        Some(prober) => prober.look().ok(),
        None => Some(wanted.prober.clone()),
    };
    let roots = root.into_iter().chain(other_root(proc)).collect::<Vec<_>>();
    Ok(Detected { cgroup, bpffs, prober, follow, roots: NodeRoots::new(roots) })
}

/// Where an agent of this node left things.
#[derive(Clone, Debug)]
pub struct Located {
    /// The node's mount namespace, where it is another than ours.
    pub mounts: Option<PathBuf>,
    /// Root of cgroup2, where there is one.
    pub cgroup: Option<PathBuf>,
    /// As the node has it.
    pub bpffs: PathBuf,
    /// The node's file system, where it is another than ours.
    pub root: Option<PathBuf>,
    /// The node's processes, as this process now sees them.
    pub proc: Proc,
}

/// The same without a change to the node. Enters its cgroup namespace, so it must be called before there are other threads.
///
/// # Errors
/// No process of the node is visible, and not everything was given.
pub fn locate(proc: &Proc, wanted: &Places) -> Result<Located, NodeError> {
    let given = |path: &PathBuf, auto: &str| if is_auto(path) { auto.into() } else { path.clone() };
    let bpffs = given(&wanted.bpffs, BPFFS);
    let Some(process) = node_process(proc) else {
        if is_auto(&wanted.cgroup) || is_auto(&wanted.bpffs) {
            return Err(NodeError::NoNode);
        }
        let cgroup = Some(wanted.cgroup.clone());
        return Ok(Located { mounts: None, cgroup, bpffs, root: None, proc: proc.clone() });
    };
    let root = root_of(proc, process)?;
    enter_cgroup_namespace(proc, process)?;
    let proc = proc.again();
    let at = |path: &Path| match &root {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    };
    let cgroup = if is_auto(&wanted.cgroup) {
        find_cgroup(&proc, process, &at).ok()
    } else {
        Some(wanted.cgroup.clone())
    };
    let mounts = root.is_some().then(|| proc.file(process, "ns/mnt"));
    Ok(Located { mounts, cgroup, bpffs, root, proc })
}

fn is_auto(path: &Path) -> bool {
    path.as_os_str() == AUTO
}

/// The kubelet, else the first process where that is of this node.
fn node_process(proc: &Proc) -> Option<u32> {
    let of_node = |pid| Some(proc.namespace(pid, "net")? == proc.namespace(std::process::id(), "net")?);
    Kubelet::find(proc).map(|kubelet| kubelet.pid).or_else(|| of_node(1)?.then_some(1))
}

/// The node's file system, held open: the process may end, the node does not. `None`: it is ours.
fn root_of(proc: &Proc, process: u32) -> Result<Option<PathBuf>, NodeError> {
    if proc.namespace(process, "mnt") == proc.namespace(std::process::id(), "mnt") {
        return Ok(None);
    }
    let path = proc.file(process, "root");
    let open = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(&path);
    let root = open.map_err(doing(format!("the node's file system at {}", path.display())))?;
    // For as long as the agent runs.
    Ok(Some(format!("/proc/self/fd/{}", root.into_raw_fd()).into()))
}

/// The machine's, for what a runtime keeps outside of the kubelet's mount namespace.
fn other_root(proc: &Proc) -> Option<PathBuf> {
    (proc.namespace(1, "mnt")? != proc.namespace(std::process::id(), "mnt")?).then(|| proc.file(1, "root"))
}

/// From inside a container's cgroup namespace paths are relative to the container.
fn enter_cgroup_namespace(proc: &Proc, process: u32) -> Result<(), NodeError> {
    if proc.namespace(process, "cgroup") == proc.namespace(std::process::id(), "cgroup") {
        return Ok(());
    }
    let path = proc.file(process, "ns/cgroup");
    let entered = File::open(&path).and_then(|namespace| Ok(setns(namespace, CloneFlags::CLONE_NEWCGROUP)?));
    entered.map_err(doing(format!("the node's cgroup namespace {}", path.display())))
}

fn find_cgroup(proc: &Proc, process: u32, at: &impl Fn(&Path) -> PathBuf) -> Result<PathBuf, NodeError> {
    let path = proc.file(process, "mountinfo");
    let mountinfo = fs::read_to_string(&path).map_err(doing(path.display().to_string()))?;
    let looked: Vec<PathBuf> = cgroup::mounts(&mountinfo).map(at).collect();
    let is_ours = |folder: &&PathBuf| {
        statfs(folder.as_path()).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC)
            && own_cgroup_below(folder).is_some()
    };
    let found = looked.iter().find(is_ours).cloned();
    found.ok_or_else(|| NodeError::NoCgroup2(format!("{looked:?}")))
}

/// Sockets are told to be the agent's by its cgroup, which then must not be everybody's.
fn leave_root(root: &Path, node: &str) -> Result<(), NodeError> {
    if own_cgroup_below(root).as_deref() != Some(root) {
        return Ok(());
    }
    let settled = cgroup::settle(root, &format!("heddle-agent-{node}"), std::process::id());
    settled.map(drop).map_err(doing(format!("a cgroup for the agent below {}", root.display())))
}

/// On a thread of its own: a mount namespace is entered by a thread that shares its working folder with no other.
fn mount_bpffs(proc: &Proc, process: u32) -> Result<(), NodeError> {
    let path = proc.file(process, "ns/mnt");
    let work = move || -> io::Result<()> {
        let namespace = File::open(path)?;
        unshare(CloneFlags::CLONE_FS)?;
        setns(namespace, CloneFlags::CLONE_NEWNS)?;
        fs::create_dir_all(BPFFS)?;
        if statfs(BPFFS)?.filesystem_type() == BPF_FS_MAGIC {
            return Ok(());
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        Ok(mount(Some("heddle"), BPFFS, Some("bpf"), flags, Some("mode=0700"))?)
    };
    let done = thread::spawn(work).join().unwrap_or_else(|_panic| Err(io::ErrorKind::Other.into()));
    done.map_err(doing(format!("a bpffs at {BPFFS} of the node")))
}
