//! The command's half of `up`: starts the daemon, shows its progress, and decides whether it stays.
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use super::Plan;

/// A daemon that ends with this value, unless it is kept.
#[derive(Debug)]
pub struct Starting {
    child: Child,
    lifeline: Option<ChildStdin>,
}

/// Returns when the daemon serves its API.
pub fn start(plan: &Plan, mut progress: impl FnMut(&str)) -> io::Result<Starting> {
    let mut child = Command::new("/proc/self/exe")
        .args(["sandbox-node", "daemon"])
        .arg(&plan.name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lifeline = child.stdin.take();
    let output = child.stdout.take();
    let mut starting = Starting { child, lifeline: None };
    if let Some(pipe) = &mut lifeline {
        pipe.write_all(format!("{}\n", serde_json::to_string(plan)?).as_bytes())?;
    }
    starting.lifeline = lifeline;
    for line in output.map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let line: Value = serde_json::from_str(&line?)?;
        if let Some(text) = line["progress"].as_str() {
            progress(text);
        } else if let Some(text) = line["error"].as_str() {
            return Err(io::Error::other(text.to_owned()));
        } else if line["ready"] == true {
            return Ok(starting);
        }
    }
    Err(io::Error::other("the sandbox's daemon ended before it was ready"))
}

impl Starting {
    /// The daemon outlives this process.
    pub fn keep(mut self) -> io::Result<()> {
        let mut lifeline = self.lifeline.take().ok_or_else(|| io::Error::other("the daemon is gone"))?;
        lifeline.write_all(b"keep\n")
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // Kept: nothing left to do. Else the daemon meets the end of the pipe, takes all down, and ends.
        if self.lifeline.take().is_some() {
            let _ = self.child.wait();
        }
    }
}
