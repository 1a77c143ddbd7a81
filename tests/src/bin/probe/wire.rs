//! Bytes as written, onto one connection, and all that comes back: for what no well-behaved client would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

/// Options of `wire`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Wire {
    /// HOST:PORT.
    to: String,
    /// What to send; `\r`, `\n`, `\0`, `\\` and `\xHH` are read. Each is sent after the answer to the one before has begun.
    send: Vec<String>,
    /// How long to wait for the next byte.
    #[arg(long, default_value_t = 2000)]
    patience: u64,
    /// Milliseconds between the parts of `send`.
    #[arg(long, default_value_t = 200)]
    pause: u64,
    /// Half-close once all is sent.
    #[arg(long)]
    finish: bool,
}

impl Wire {
    /// Prints `{first: ms until the first byte, end: closed|reset|open, text}`.
    pub(crate) fn run(&self) -> Result<()> {
        let address = self.to.to_socket_addrs()?.next().context("no address")?;
        let begun = Instant::now();
        let mut stream = match TcpStream::connect_timeout(&address, Duration::from_secs(3)) {
            // Accepted and reset before we looked: the same end as a moment later.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                say(None, "reset", &[]);
                return Ok(());
            }
            connected => connected?,
        };
        stream.set_nodelay(true)?;
        let mut reader = stream.try_clone()?;
        reader.set_read_timeout(Some(Duration::from_millis(self.patience)))?;
        let reading = std::thread::spawn(move || read(&mut reader, begun));
        let mut reset = false;
        for (at, part) in self.send.iter().enumerate() {
            if at > 0 {
                std::thread::sleep(Duration::from_millis(self.pause));
            }
            // What the server refuses to read shows in what it answered; a reset is told once, and whoever asks next sees an end.
            let sent = stream.write_all(&unescaped(part));
            reset |= sent.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
        }
        if self.finish {
            let _gone = stream.shutdown(Shutdown::Write);
        }
        let (first, end, bytes) = reading.join().map_err(|_panic| anyhow::anyhow!("reader"))?;
        say(first, if reset && end == "closed" { "reset" } else { end }, &bytes);
        Ok(())
    }
}

fn say(first: Option<u64>, end: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    println!("{}", json!({ "first": first, "end": end, "text": text, "length": bytes.len() }));
}

fn read(stream: &mut TcpStream, begun: Instant) -> (Option<u64>, &'static str, Vec<u8>) {
    let (mut bytes, mut first, mut buffer) = (Vec::new(), None, vec![0; 65_536]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (first, "closed", bytes),
            Ok(count) => {
                first.get_or_insert_with(|| u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
                if bytes.len() < 1 << 20 {
                    bytes.extend_from_slice(&buffer[..count]);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return (first, "open", bytes);
            }
            Err(_reset) => return (first, "reset", bytes),
        }
    }
}

/// `\r\n\0\\\xHH` as bytes.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.chars());
    while let Some(each) = rest.next() {
        if each != '\\' {
            bytes.extend_from_slice(each.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match rest.next() {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('0') => bytes.push(0),
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            Some(other) => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            None => {}
        }
    }
    bytes
}
