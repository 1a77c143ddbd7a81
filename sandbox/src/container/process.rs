//! A container's main process, from start to the last process of its cgroup.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::cgroup::Cgroup;

use super::entry::Entry;

/// A started container.
#[derive(Debug)]
pub struct Process {
    child: Child,
    cgroup: Cgroup,
}

/// How a container ended, in the numbers that Kubernetes shows: a signal is 128 more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    pub signal: Option<i32>,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        let signal = status.signal();
        let code = status.code().unwrap_or_else(|| 128 + signal.unwrap_or_default());
        Self { code, signal }
    }
}

impl Process {
    /// Starts what `entry` describes; its file goes to `entry_file`, stdout and stderr to the end of `log`.
    pub fn start(entry: &Entry, entry_file: &Path, log: &Path) -> io::Result<Self> {
        let cgroup = Cgroup::at(&entry.cgroup);
        cgroup.create()?;
        std::fs::create_dir_all(&entry.root)?;
        match std::fs::remove_file(&entry.pid_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        entry.write(entry_file)?;
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let child = Command::new("/proc/self/exe")
            .args(["sandbox-node", "enter"])
            .arg(entry_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child, cgroup })
    }

    /// Waits for the main process, then ends whatever it left behind. Safe to cancel and call again.
    pub async fn wait(&mut self) -> io::Result<Exit> {
        let status = self.child.wait().await?;
        self.cgroup.kill()?;
        Ok(status.into())
    }

    /// SIGTERM to the main process.
    pub fn terminate(&self) -> io::Result<()> {
        let Some(pid) = self.child.id() else { return Ok(()) };
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(pid), Signal::SIGTERM)?)
    }

    /// SIGKILL to every process of the container, the helper that is just becoming it included.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.start_kill()?;
        self.cgroup.kill()
    }
}
