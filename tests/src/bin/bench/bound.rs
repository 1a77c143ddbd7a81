//! The end that a run comes to however it goes: interrupted or out of time, the sandbox goes, and the report is written.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use heddle_tests::sandbox::binary;
use nix::libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::topology::NAME;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on SIGINT, SIGTERM, or the end of `within` takes the sandbox down; what is being measured then fails by itself.
pub(crate) fn watch(within: Duration) -> Result<()> {
    let heddle = binary("heddle")?;
    let action = SigAction::new(SigHandler::Handler(interrupted), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is safe at any moment.
        unsafe { sigaction(signal, &action)? };
    }
    let start = Instant::now();
    std::thread::spawn(move || {
        while !INTERRUPTED.load(Ordering::Relaxed) && start.elapsed() < within {
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut down = Command::new(heddle);
        down.args(["sandbox", "down", "--name", NAME]).stdin(Stdio::null()).stdout(Stdio::null());
        if let Err(error) = down.status() {
            eprintln!("bench: the sandbox cannot be taken down: {error}");
        }
    });
    Ok(())
}

extern "C" fn interrupted(_: c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}
