//! What crossed the wire between the nodes: tcpdump into a file, read back packet by packet.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::packet::{Packet, parse_pcap};
use crate::sandbox::Sandbox;

/// A capture that runs until [`Capture::stop`].
#[derive(Debug)]
pub struct Capture {
    tcpdump: Child,
    file: PathBuf,
}

/// What was captured.
#[derive(Debug)]
pub struct Wire {
    packets: Vec<Packet>,
}

impl Capture {
    /// Captures on a node's uplink; returns once packets are seen.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn start(sandbox: &Sandbox, node: &str) -> Result<Self> {
        let file = sandbox.directory().join(format!("wire-{node}-{}.pcap", std::process::id()));
        let path = file.to_str().context("path")?.to_owned();
        let argv = [
            "tcpdump",
            "-i",
            "eth0",
            "-U",
            "--immediate-mode",
            "-B",
            "16384",
            "-Z",
            "root",
            "-s",
            "0",
            "-w",
            &path,
        ];
        let mut command = sandbox.exec_command("default", &format!("node/{node}"), &argv)?;
        let mut tcpdump = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let errors = tcpdump.stderr.take().context("stderr")?;
        let mut lines = BufReader::new(errors).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("listening on"));
        ensure!(ready, "tcpdump did not start on {node}");
        // Keep draining, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { tcpdump, file })
    }

    /// Ends the capture and reads it.
    ///
    /// # Errors
    /// The file cannot be read, or nothing at all was captured.
    pub fn stop(mut self) -> Result<Wire> {
        // Let tcpdump write what it has been handed.
        std::thread::sleep(Duration::from_millis(300));
        self.interrupt();
        self.tcpdump.wait()?;
        let packets = parse_pcap(&std::fs::read(&self.file)?)?;
        ensure!(!packets.is_empty(), "the capture is empty: it proves nothing");
        Ok(Wire { packets })
    }

    fn interrupt(&self) {
        if let Ok(pid) = i32::try_from(self.tcpdump.id()) {
            // It may have ended already: then there is nothing to interrupt.
            let _ended = kill(Pid::from_raw(pid), Signal::SIGINT);
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.interrupt();
        drop(self.tcpdump.wait());
        drop(std::fs::remove_file(&self.file));
    }
}

impl Wire {
    /// How many packets hold these bytes.
    pub fn count(&self, needle: &[u8]) -> usize {
        self.packets.iter().filter(|packet| packet.contains(needle)).count()
    }

    /// Every packet.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// Opening segments (SYN without ACK) sent at or after a time (seconds since the epoch).
    pub fn opens_since(&self, time: f64) -> impl Iterator<Item = &Packet> {
        self.packets.iter().filter(move |packet| packet.time >= time && packet.is_open())
    }
}
