//! A steady load of HTTP requests, half of them on new connections, every failure kept with its time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

/// Options of `load`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// HOST:PORT.
    to: String,
    /// How long.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Requests a second.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// How many requests, however slow the machine is, within a minute; else as many as are due in `--seconds`.
    #[arg(long)]
    requests: Option<u32>,
    /// Which connections to use.
    #[arg(long, value_enum, default_value_t = Connections::Alternate)]
    connections: Connections,
    /// Sent in a header of each request.
    #[arg(long, default_value = "none")]
    canary: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Connections {
    /// A new one for each request.
    New,
    /// A new one for each request, that the server closes.
    ServerCloses,
    /// One kept open.
    Kept,
    /// By turns.
    Alternate,
}

#[derive(Debug, Default, Serialize)]
struct Outcome {
    ok: u64,
    failed: u64,
    /// Seconds since the epoch of the first success after the last failure.
    recovered: Option<f64>,
    last_failure: Option<f64>,
    errors: Vec<String>,
    last_body: String,
}

impl Load {
    pub(crate) fn run(&self) -> Result<()> {
        let start = Instant::now();
        let (mut outcome, mut kept) = (Outcome::default(), None);
        let (total, within) = match self.requests {
            Some(requests) => (f64::from(requests), 60.0),
            None => ((self.seconds * self.rate).ceil().max(1.0), self.seconds + 10.0),
        };
        let mut number = 0.0;
        while number < total && start.elapsed().as_secs_f64() < within {
            let due = start + Duration::from_secs_f64(number / self.rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            number += 1.0;
            let fresh = match self.connections {
                Connections::New | Connections::ServerCloses => true,
                Connections::Kept => false,
                Connections::Alternate => number % 2.0 == 0.0,
            };
            outcome.record(self.request(fresh, &mut kept));
        }
        println!("{}", serde_json::to_string(&outcome)?);
        Ok(())
    }

    fn request(&self, fresh: bool, kept: &mut Option<BufReader<TcpStream>>) -> Result<String> {
        let mut connection = match kept.take() {
            Some(connection) if !fresh => connection,
            other => {
                *kept = other;
                self.connect()?
            }
        };
        let body = self.exchange(&mut connection)?;
        if !fresh {
            *kept = Some(connection);
        }
        Ok(body)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let address = self.to.to_socket_addrs().context("lookup")?.next().context("no address")?;
        let connection = TcpStream::connect_timeout(&address, Duration::from_secs(2)).context("connect")?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        connection.set_nodelay(true)?;
        Ok(BufReader::new(connection))
    }

    fn exchange(&self, connection: &mut BufReader<TcpStream>) -> Result<String> {
        let last = self.connections == Connections::ServerCloses;
        let close = if last { "Connection: close\r\n" } else { "" };
        let request =
            format!("GET / HTTP/1.1\r\nHost: {}\r\nX-Canary: {}\r\n{close}\r\n", self.to, self.canary);
        connection.get_mut().write_all(request.as_bytes()).context("send")?;
        let (mut line, mut length) = (String::new(), 0);
        connection.read_line(&mut line).context("reply")?;
        ensure!(line.starts_with("HTTP/1.1 200"), "replied {line:?}");
        loop {
            line.clear();
            ensure!(connection.read_line(&mut line).context("header")? > 0, "closed inside the header");
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().context("content-length")?;
            }
        }
        if length > 1 << 20 {
            bail!("body of {length} bytes");
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).context("body")?;
        ensure!(!last || connection.read(&mut [0]).context("end")? == 0, "more than the body");
        Ok(String::from_utf8_lossy(&body).trim().to_owned())
    }
}

impl Outcome {
    fn record(&mut self, result: Result<String>) {
        match result {
            Ok(body) => {
                self.ok += 1;
                self.last_body = body;
                if self.last_failure.is_some() && self.recovered.is_none() {
                    self.recovered = Some(now());
                }
            }
            Err(error) => {
                self.failed += 1;
                self.last_failure = Some(now());
                self.recovered = None;
                if self.errors.len() < 20 {
                    self.errors.push(format!("{error:#}"));
                }
            }
        }
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
