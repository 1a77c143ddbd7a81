//! Conditions across objects, for their status: what `heddle analyze` says, looked for beside everything else.
//!
//! A thread of its own looks at all objects anew some time after one changed, and takes at most a tenth of a core.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use heddle_api::analyze;
use heddle_api::diagnostic::Problem;
use heddle_api::object::Object;
use tokio::sync::mpsc;

use crate::registry::ObjectId;
use crate::registry::shelf::Shelf;

/// Many changes are looked at together.
const SETTLE: Duration = Duration::from_millis(300);
/// The rest between two looks, in times of the last one.
const REST: u32 = 10;

/// What was found in which object.
pub type Findings = BTreeMap<ObjectId, Vec<Problem>>;

/// The engine's end.
#[derive(Debug)]
pub struct Analyst {
    wake: std_mpsc::SyncSender<()>,
    findings: mpsc::Receiver<Findings>,
}

impl Analyst {
    /// Starts the thread, which ends with this.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn spawn(shelf: Shelf) -> io::Result<Self> {
        let (wake, woken) = std_mpsc::sync_channel(1);
        let (found, findings) = mpsc::channel(1);
        std::thread::Builder::new().name("analysis".to_owned()).spawn(move || run(&shelf, &woken, &found))?;
        Ok(Self { wake, findings })
    }

    /// Something changed.
    pub fn wake(&self) {
        // One that is waiting covers this too.
        let _ = self.wake.try_send(());
    }

    /// All findings, each time that they are others than before.
    pub async fn findings(&mut self) -> Option<Findings> {
        self.findings.recv().await
    }
}

fn run(shelf: &Shelf, woken: &std_mpsc::Receiver<()>, found: &mpsc::Sender<Findings>) {
    let mut last = Findings::new();
    while woken.recv().is_ok() {
        std::thread::sleep(SETTLE);
        while woken.try_recv().is_ok() {}
        let begun = Instant::now();
        let now = findings(&shelf.all());
        if now != last {
            last.clone_from(&now);
            if found.blocking_send(now).is_err() {
                return;
            }
        }
        std::thread::sleep(begun.elapsed() * REST);
    }
}

fn findings(objects: &[(ObjectId, Arc<Object>)]) -> Findings {
    let all: Vec<&Object> = objects.iter().map(|(_, object)| &**object).collect();
    let mut findings = Findings::new();
    for found in analyze::analyze(&all) {
        if let Some((id, _)) = objects.get(found.object) {
            findings.entry(id.clone()).or_default().push(found.problem);
        }
    }
    findings
}
