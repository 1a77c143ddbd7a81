//! The installer's loop: the entry is brought back whenever somebody rewrites the configuration, until SIGTERM, which leaves it in.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde_json::Value;

use super::folder::{self, Folder, Pass};
use super::pace::Pace;
use super::report::Report;
use super::{InstallError, binary};

/// Whatever a notification missed is found this soon.
const RESCAN: Duration = Duration::from_secs(5);

/// What is installed where.
#[derive(Clone, Debug)]
pub struct Installer {
    /// The runtime's configurations.
    pub conf_dir: PathBuf,
    /// The runtime's plugins.
    pub bin_dir: PathBuf,
    /// Our entry.
    pub entry: Value,
    /// Where to say what was done.
    pub report: PathBuf,
    /// What becomes the plugin: this program.
    pub program: PathBuf,
}

/// Both signals end the loop; called before anything else, because the first process of a container has no default actions.
///
/// # Errors
/// The system refuses.
pub fn signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

impl Installer {
    /// One pass: the binary first, because a configuration that names one that is not there starts no pod.
    ///
    /// # Errors
    /// What could not be done.
    pub fn pass(&self) -> Result<Pass, InstallError> {
        fs::create_dir_all(&self.bin_dir).map_err(super::at(&self.bin_dir))?;
        binary::install(&self.program, &self.bin_dir)?;
        folder::install(&Folder::new(&self.conf_dir), &self.entry)
    }

    /// Repairs until a signal comes.
    ///
    /// # Errors
    /// The system refuses a descriptor; what goes wrong with files is reported, and tried again.
    pub fn run(&self, signals: &SignalFd) -> nix::Result<()> {
        let mut changes = Changes::new()?;
        let (start, mut pace, mut report) = (Instant::now(), Pace::default(), Report::default());
        loop {
            changes.watch(&self.conf_dir);
            let before = report.clone();
            let mut hold = Duration::ZERO;
            match self.pass() {
                Ok(Pass::Nothing) => {
                    report.configuration = None;
                    report.error = Some(format!("{}: no network configuration yet", self.conf_dir.display()));
                }
                Ok(Pass::Unchanged(path)) => {
                    report.configuration = Some(path.display().to_string());
                    report.error = None;
                }
                Ok(Pass::Repaired(path)) => {
                    report.configuration = Some(path.display().to_string());
                    report.error = None;
                    report.repairs += 1;
                    hold = pace.repaired(start.elapsed());
                    report.held_back += u64::from(!hold.is_zero());
                }
                Err(error) => {
                    report.error = Some(error.to_string());
                    hold = Duration::from_secs(1);
                }
            }
            self.tell(&before, &report);
            if (!hold.is_zero() && ended(signals, None, hold)?) || ended(signals, Some(&mut changes), RESCAN)?
            {
                return Ok(());
            }
        }
    }

    fn tell(&self, before: &Report, report: &Report) {
        if before == report {
            return;
        }
        match (&report.configuration, &report.error) {
            (_, Some(error)) => eprintln!("heddle-cni: {error}"),
            (Some(path), None) => eprintln!("heddle-cni: {path} has the plugin ({} repairs)", report.repairs),
            (None, None) => {}
        }
        if let Err(error) = report.write(&self.report) {
            eprintln!("heddle-cni: {}: {error}", self.report.display());
        }
    }
}

/// Notifications of the folder; without them the rescan finds what changed.
struct Changes {
    inotify: Inotify,
    watched: Option<WatchDescriptor>,
}

impl Changes {
    fn new() -> nix::Result<Self> {
        Ok(Self { inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?, watched: None })
    }

    /// Again each time: a folder that was removed and made anew is another one.
    fn watch(&mut self, folder: &PathBuf) {
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO;
        let watched = self.inotify.add_watch(folder, events).ok();
        if let (Some(old), Some(new)) = (self.watched, watched)
            && old != new
        {
            let _gone = self.inotify.rm_watch(old);
        }
        self.watched = watched;
    }
}

/// Waits for a change, the time, or a signal; true: a signal.
fn ended(signals: &SignalFd, changes: Option<&mut Changes>, within: Duration) -> nix::Result<bool> {
    let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    fds.extend(changes.as_ref().map(|changes| PollFd::new(changes.inotify.as_fd(), PollFlags::POLLIN)));
    match poll(&mut fds, timeout) {
        Err(nix::Error::EINTR) => return Ok(false),
        polled => polled?,
    };
    let signalled = fds[0].any() == Some(true);
    if let Some(changes) = changes {
        // All that came are one reason to look.
        while changes.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
    Ok(signalled)
}
