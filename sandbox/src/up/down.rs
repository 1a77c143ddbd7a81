//! `down`: asks the daemon, ends it if it does not listen, and clears whatever is left.
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::lock;
use crate::cleanup::cleanup;
use crate::client::Client;
use crate::fabric::Layout;

const PATIENCE: Duration = Duration::from_secs(30);

/// Whether there was anything to take down.
pub fn down(layout: &Layout) -> io::Result<bool> {
    let existed = layout.root().exists();
    if let Ok(client) = Client::open(layout) {
        // The answer may be lost with the daemon; the lock tells.
        let _ = client.call::<Value>("down", &json!({}));
    }
    let held = match free(layout.name(), PATIENCE)? {
        Some(held) => held,
        None => {
            end_daemon(layout)?;
            let stuck =
                || io::Error::other(format!("the daemon of sandbox \"{}\" does not end", layout.name()));
            free(layout.name(), PATIENCE)?.ok_or_else(stuck)?
        }
    };
    cleanup(layout.name())?;
    drop(held);
    Ok(existed)
}

fn free(name: &str, patience: Duration) -> io::Result<Option<lock::Lock>> {
    let start = Instant::now();
    loop {
        if let Some(held) = lock::take(name)? {
            return Ok(Some(held));
        }
        if start.elapsed() > patience {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn end_daemon(layout: &Layout) -> io::Result<()> {
    let text = std::fs::read(layout.description())?;
    let value: Value = serde_json::from_slice(&text)?;
    let Some(pid) = value["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()) else { return Ok(()) };
    // A recycled id must not be killed: the daemon names its sandbox on its command line.
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    if words.contains(&b"daemon".as_slice()) && words.contains(&layout.name().as_bytes()) {
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    }
    Ok(())
}
