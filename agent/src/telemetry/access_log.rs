//! Where lines of the access log go: to a thread that traffic never waits for.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use prometheus::IntCounter;

use super::format::{Entry, Format};

/// Lines that wait for the writer; more are lost and counted.
const QUEUE: usize = 8192;
/// How long lines gather before they are written. A writer that was woken for each line cost new connections more
/// than their proxying: a futex, a context switch and a write for every one.
pub const GATHER: Duration = Duration::from_millis(5);

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

    /// Whether anybody wants lines.
    pub fn is_enabled(&self) -> bool {
        self.queue.is_some()
    }

    /// Formats and queues a line, or loses it.
    pub fn write(&self, format: &Format, entry: &Entry<'_>) {
        let Some(queue) = &self.queue else { return };
        let mut text = String::with_capacity(320);
        format.render(entry, &mut text);
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
            log.write(&Format::default(), &Entry::default());
        }
        assert!(lost.get() >= 1000, "{}", lost.get());
    }
}
