//! A pause process holds the namespaces of a node or a pod, and ends with the sandbox.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::cgroup::Cgroup;

/// What a pause process sets up in its new namespaces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hold {
    pub hostname: String,
    /// Joined at the start; killed with all in it when the sandbox's process has gone.
    pub cgroup: PathBuf,
    /// Keys below `/proc/sys/net` and their values.
    pub sysctls: Vec<(String, String)>,
}

/// A running pause process.
#[derive(Debug)]
pub struct Pause {
    pid: u32,
    child: Child,
    /// Its end of file tells the process that we are gone, however we went.
    _lifeline: ChildStdin,
}

impl Pause {
    /// Returns once the namespaces stand. `title` shows in the process list.
    pub async fn start(title: &str, hold: &Hold) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .args(["sandbox-node", "pause", title])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut lifeline), Some(stdout), Some(pid)) =
            (child.stdin.take(), child.stdout.take(), child.id())
        else {
            return Err(io::Error::other("pause process without pipes"));
        };
        let mut line = serde_json::to_vec(hold)?;
        line.push(b'\n');
        lifeline.write_all(&line).await?;
        let mut answer = String::new();
        BufReader::new(stdout).read_line(&mut answer).await?;
        match answer.trim_end() {
            "ready" => Ok(Self { pid, child, _lifeline: lifeline }),
            "" => Err(io::Error::other(format!("pause process of {title} ended early"))),
            error => Err(io::Error::other(format!("pause process of {title}: {error}"))),
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The path that leads to the network namespace, while the process runs.
    pub fn netns(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid))
    }

    pub fn uts(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/uts", self.pid))
    }

    /// Ends the process and waits for it.
    pub async fn stop(mut self) -> io::Result<()> {
        self.child.start_kill()?;
        self.child.wait().await.map(drop)
    }
}

/// The pause process itself.
pub fn main() -> io::Result<()> {
    let mut stdin = File::open("/proc/self/fd/0")?;
    let hold = match prepare(&mut stdin) {
        Ok(hold) => hold,
        Err(error) => {
            println!("{error}");
            return Err(error);
        }
    };
    println!("ready");
    io::stdout().flush()?;
    // Nothing more is ever written: this returns when the sandbox's process has closed the pipe or died.
    io::copy(&mut stdin, &mut io::sink())?;
    Cgroup::at(hold.cgroup).kill()
}

fn prepare(stdin: &mut File) -> io::Result<Hold> {
    let hold: Hold = serde_json::from_slice(&read_line(stdin)?)?;
    Cgroup::at(&hold.cgroup).enter()?;
    // Its own session: an interrupt typed at the terminal is for the sandbox, which decides what ends when.
    nix::unistd::setsid()?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)?;
    nix::unistd::sethostname(&hold.hostname)?;
    for (key, value) in &hold.sysctls {
        let path = PathBuf::from("/proc/sys/net").join(key);
        match std::fs::write(&path, value) {
            // A kernel without that feature has nothing to switch.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io::Error::other(format!("{}: {error}", path.display()))),
            Ok(()) => {}
        }
    }
    Ok(hold)
}

fn read_line(stdin: &mut File) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while stdin.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    Ok(line)
}
