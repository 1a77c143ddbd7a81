//! How long things may take, and how soon they are tried again.

use std::time::{Duration, Instant};

use aws_lc_rs::rand;

/// Times of a registry; tests have shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first pause after a failure.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// Before a list is asked for again that was in doubt: what has just come back needs a moment.
    pub confirm: Duration,
    /// For the beginning of an answer.
    pub answer: Duration,
    /// Seconds of a watch.
    pub watch: u32,
    /// Between two looks at which kinds there are.
    pub discovery: Duration,
    /// For which a new root is trusted before it signs: a kubelet renews mounted ConfigMaps within two minutes.
    pub overlap: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(20),
            confirm: Duration::from_secs(1),
            answer: Duration::from_secs(30),
            watch: 290,
            discovery: Duration::from_secs(5),
            overlap: Duration::from_secs(180),
        }
    }
}

/// Pauses that grow while things fail, each somewhere between its half and its whole, so that many do not come at once.
#[derive(Debug)]
pub(super) struct Backoff {
    pace: Pace,
    failures: u32,
    /// The last pause, and when it ended.
    last: Duration,
    since: Instant,
    troubled: bool,
}

impl Backoff {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, failures: 0, last: Duration::ZERO, since: Instant::now(), troubled: false }
    }

    /// Something came. Tells whether that is news.
    pub(super) fn went_well(&mut self) -> bool {
        std::mem::take(&mut self.troubled)
    }

    pub(super) async fn wait(&mut self) {
        // What went well for longer than the last pause is no failure again.
        if self.since.elapsed() > self.last.max(self.pace.first) {
            self.failures = 0;
        }
        let pause = self.pace.first.saturating_mul(1 << self.failures.min(16)).min(self.pace.longest);
        self.failures += 1;
        self.last = pause;
        self.troubled = true;
        let mut byte = [0_u8; 1];
        // Without randomness the pause is a whole one.
        let share = if rand::fill(&mut byte).is_ok() { f64::from(byte[0]) / 255.0 } else { 1.0 };
        tokio::time::sleep(pause.mul_f64(0.5 + share / 2.0)).await;
        self.since = Instant::now();
    }
}
