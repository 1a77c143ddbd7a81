//! QEMU without hardware help, so that it runs wherever a program runs.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{During, Failure, Result};

/// Boot and check take 5 to 20 seconds; a shared machine may need many times that.
const LIMIT: Duration = Duration::from_secs(240);

/// Boots to the end and returns what the serial console showed.
pub(super) fn boot(kernel: &Path, initramfs: &Path) -> Result<String> {
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "1024"])
        .args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 quiet panic=-1 oops=panic"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .during("qemu-system-x86_64")?;
    let mut stdout = qemu.stdout.take().during("QEMU has no output")?;
    let console = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stdout.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let ended = wait(&mut qemu);
    let console = console.join().unwrap_or_default();
    if ended? {
        return Ok(console);
    }
    Err(Failure::new(format!("the guest did not end within {} s; its console:\n{console}", LIMIT.as_secs())))
}

/// Waits for the end; ends it by force at the limit and says so.
fn wait(qemu: &mut Child) -> Result<bool> {
    let start = Instant::now();
    loop {
        if qemu.try_wait().during("QEMU")?.is_some() {
            return Ok(true);
        }
        if start.elapsed() > LIMIT {
            qemu.kill().during("QEMU")?;
            qemu.wait().during("QEMU")?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(50));
    }
}
