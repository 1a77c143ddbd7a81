//! Access log lines in Envoy's default text format, written by a thread that traffic never waits for.
//!
//! Source of the format: Istio's default `accessLogFormat`; fields that L4 does not have are `-`.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;
use time::OffsetDateTime;

/// Lines that wait for the writer; more are lost and counted.
const QUEUE: usize = 8192;
/// How long lines gather before they are written. A writer that was woken for each line cost new connections more
/// than their proxying: a futex, a context switch and a write for every one.
pub const GATHER: Duration = Duration::from_millis(5);

/// The fields of a line.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// When the connection was accepted.
    pub started: SystemTime,
    /// `-`, or Envoy's flag.
    pub response_flags: &'static str,
    /// Why it ended, if it did not complete.
    pub details: Option<&'a str>,
    /// Why the upstream failed, if it did.
    pub upstream_failure: Option<&'a str>,
    /// From the client.
    pub received: u64,
    /// To the client.
    pub sent: u64,
    /// How long it lived.
    pub duration: Duration,
    /// The endpoint that was dialled.
    pub upstream: Option<SocketAddr>,
    /// `outbound|80||web.default.svc.cluster.local`, `inbound|80||`, `PassthroughCluster`.
    pub cluster: Option<&'a str>,
    /// The address that the client had dialled.
    pub downstream_local: Option<SocketAddr>,
    /// The client.
    pub downstream_remote: Option<SocketAddr>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from(self.started);
        write!(
            f,
            "[{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z] \"- - -\" 0 {} - {} \"{}\" {} {} {} - \"-\" \"-\" \"-\" \"-\" ",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond(),
            self.response_flags,
            Word(self.details),
            Quoted(self.upstream_failure),
            self.received,
            self.sent,
            self.duration.as_millis(),
        )?;
        match self.upstream {
            Some(upstream) => write!(f, "\"{upstream}\" ")?,
            None => f.write_str("\"-\" ")?,
        }
        write!(
            f,
            "{} - {} {} - -",
            Word(self.cluster),
            OrDash(self.downstream_local),
            OrDash(self.downstream_remote)
        )
    }
}

/// One field without quotes: blanks become underscores, everything that could forge a line is escaped.
struct Word<'a>(Option<&'a str>);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(text) = self.0.filter(|text| !text.is_empty()) else { return f.write_char('-') };
        text.chars().try_for_each(|c| match c {
            ' ' => f.write_char('_'),
            c => escaped(c, f),
        })
    }
}

/// A field inside quotes.
struct Quoted<'a>(Option<&'a str>);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(text) = self.0 else { return f.write_char('-') };
        text.chars().try_for_each(|c| escaped(c, f))
    }
}

fn escaped(c: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match c {
        '"' | '\\' => write!(f, "\\{c}"),
        c if c.is_control() => write!(f, "{}", c.escape_default()),
        c => f.write_char(c),
    }
}

struct OrDash(Option<SocketAddr>);

impl fmt::Display for OrDash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(address) => address.fmt(f),
            None => f.write_char('-'),
        }
    }
}

/// Where lines go. Bounded and lossy: a reader that stops costs lines, never traffic.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Option<SyncSender<String>>,
    lost: Option<Arc<IntCounter>>,
}

impl AccessLog {
    /// Nowhere.
    pub fn disabled() -> Self {
        Self { queue: None, lost: None }
    }

    /// To the agent's standard output; `lost` counts what the reader was too slow for.
    ///
    /// # Errors
    /// The writer's thread cannot be started.
    pub fn stdout(lost: IntCounter) -> io::Result<Self> {
        Self::to(io::stdout(), lost)
    }

    /// To any writer.
    ///
    /// # Errors
    /// The writer's thread cannot be started.
    pub fn to(writer: impl Write + Send + 'static, lost: IntCounter) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        std::thread::Builder::new().name("access-log".into()).spawn(move || write_lines(writer, &lines))?;
        Ok(Self { queue: Some(queue), lost: Some(Arc::new(lost)) })
    }

    /// Formats and queues a line, or loses it.
    pub fn write(&self, line: &Line<'_>) {
        let Some(queue) = &self.queue else { return };
        let mut text = String::with_capacity(320);
        if writeln!(text, "{line}").is_err() {
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(text)
            && let Some(lost) = &self.lost
        {
            lost.inc();
        }
    }
}

/// Writes until the last sender is gone; one write for whatever has gathered meanwhile.
fn write_lines(mut writer: impl Write, lines: &Receiver<String>) {
    let mut batch = String::new();
    while let Ok(line) = lines.recv() {
        batch.push_str(&line);
        std::thread::sleep(GATHER);
        while batch.len() < 256 * 1024 {
            let Ok(line) = lines.try_recv() else { break };
            batch.push_str(&line);
        }
        if writer.write_all(batch.as_bytes()).and_then(|()| writer.flush()).is_err() {
            // Nobody reads any more: the channel closes, and every further line counts as lost.
            return;
        }
        batch.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line(details: Option<&'static str>) -> Line<'static> {
        Line {
            started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            response_flags: "-",
            details,
            upstream_failure: None,
            received: 3,
            sent: 10,
            duration: Duration::from_millis(5),
            upstream: "10.244.1.27:9000".parse().ok(),
            cluster: Some("outbound|9000||echo.default.svc.cluster.local"),
            downstream_local: "10.96.0.7:9000".parse().ok(),
            downstream_remote: "10.244.1.23:35650".parse().ok(),
        }
    }

    #[test]
    fn a_line_has_envoys_fields_in_envoys_order() {
        assert_eq!(
            line(None).to_string(),
            "[2023-11-14T22:13:20.123Z] \"- - -\" 0 - - - \"-\" 3 10 5 - \"-\" \"-\" \"-\" \"-\" \
             \"10.244.1.27:9000\" outbound|9000||echo.default.svc.cluster.local - 10.96.0.7:9000 \
             10.244.1.23:35650 - -"
        );
    }

    #[test]
    fn a_name_with_line_breaks_cannot_forge_a_line() {
        let text = line(Some("evil\r\n[2023] \"x\"")).to_string();
        assert!(!text.contains('\n') && text.contains("evil\\r\\n[2023]_\\\"x\\\""), "{text}");
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_never_blocks() {
        struct Stuck;
        impl Write for Stuck {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                std::thread::sleep(Duration::from_secs(3600));
                Ok(0)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lost = IntCounter::new("lost", "lines").unwrap();
        let log = AccessLog::to(Stuck, lost.clone()).unwrap();
        for _ in 0..(2 * QUEUE + 2000) {
            log.write(&line(None));
        }
        assert!(lost.get() >= 1000, "{}", lost.get());
    }
}
