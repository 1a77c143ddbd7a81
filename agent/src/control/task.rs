//! The owner of the tables: loads them from disk, keeps a session with the controller, publishes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heddle_core::names::Generation;
use heddle_core::snapshot::Snapshot;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, random};
use super::tables::{Refused, Tables};
use super::{ControlStatus, Controller, Kind, saved, session};
use crate::datapath::Applied;
use crate::tls::TrustBundle;
use heddle_proto::discovery::DeltaDiscoveryResponse;

const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(15);

/// What the control task needs to know.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// This node.
    pub node: String,
    /// Where the controller is.
    pub controller: Controller,
    /// Where the last configuration is kept.
    pub state_dir: PathBuf,
}

/// What the control task publishes.
#[derive(Clone, Debug)]
pub struct Publications {
    /// The configuration in force; generation 0 until the first one is whole.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// The mesh's roots.
    pub roots: watch::Receiver<Option<TrustBundle>>,
    /// For people.
    pub status: watch::Receiver<ControlStatus>,
}

/// The control task before it runs.
#[derive(Debug)]
pub struct Control {
    pub(super) options: ControlOptions,
    pub(super) tables: Tables,
    pub(super) status: watch::Sender<ControlStatus>,
    /// Counts publications.
    pub(super) generation: Generation,
    snapshots: watch::Sender<Arc<Snapshot>>,
    roots: watch::Sender<Option<TrustBundle>>,
    dirty: bool,
    saving: Option<JoinHandle<()>>,
}

impl Control {
    /// Publishes at once what was saved before a restart, where there is something.
    pub fn new(options: ControlOptions) -> (Self, Publications) {
        let (snapshots, snapshots_seen) = watch::channel(Arc::default());
        let (roots, roots_seen) = watch::channel(None);
        let (status, status_seen) = watch::channel(ControlStatus::default());
        let mut control = Self {
            options,
            tables: Tables::default(),
            status,
            generation: Generation::default(),
            snapshots,
            roots,
            dirty: false,
            saving: None,
        };
        control.load();
        (control, Publications { snapshots: snapshots_seen, roots: roots_seen, status: status_seen })
    }

    /// Keeps a session with the controller until told to stop; `applied` says how far the kernel is.
    pub async fn run(mut self, applied: watch::Receiver<Applied>, stop: CancellationToken) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => break,
                ended = session::run(&mut self, applied.clone()) => ended,
            };
            if ended.received {
                backoff.reset();
            }
            let wait = backoff.wait(random());
            tracing::warn!(controller = %self.options.controller.address, error = %ended.error, retry_in = ?wait,
                "no session with the controller; the last configuration stays in force");
            self.status.send_modify(|status| {
                status.connected = false;
                status.error = ended.error;
            });
            self.save();
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.finish().await;
    }

    /// Applies a response whole or not at all, and publishes once everything is known.
    pub(super) fn apply(&mut self, kind: Kind, response: DeltaDiscoveryResponse) -> Result<(), Refused> {
        // A controller that has nothing to say to an agent that resumes says so: that is no change.
        let says = !(response.resources.is_empty() && response.removed_resources.is_empty());
        let before = self.tables.complete();
        self.tables.apply(kind, response)?;
        self.status.send_modify(|status| {
            status.of(kind).known = true;
            status.from_disk = false;
        });
        if says || before != self.tables.complete() {
            self.dirty = true;
            self.publish(kind);
        }
        Ok(())
    }

    /// The generation that the latest change is, or will be, part of.
    pub(super) fn current(&self) -> Generation {
        if self.tables.complete() { self.generation } else { Generation(self.generation.0 + 1) }
    }

    /// The snapshot in force.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// Whether there is something that the disk does not have.
    pub(super) fn dirty(&self) -> bool {
        self.dirty
    }

    /// Starts to write what is held, unless a write is still under way.
    pub(super) fn save(&mut self) {
        let busy = self.saving.as_ref().is_some_and(|task| !task.is_finished());
        if !self.dirty || busy || !self.tables.complete() {
            return;
        }
        self.dirty = false;
        let file = saved::encode(&self.options.node, &self.tables.export());
        let directory = self.options.state_dir.clone();
        self.saving = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = saved::write(&directory, &file) {
                tracing::warn!(directory = %directory.display(), %error,
                    "cannot save the configuration: a restart without the controller would refuse all traffic");
            }
        }));
    }

    fn publish(&mut self, kind: Kind) {
        if kind == Kind::Mesh {
            self.roots.send_if_modified(|roots| {
                let changed = roots.as_ref() != self.tables.roots();
                *roots = self.tables.roots().cloned();
                changed
            });
        }
        if self.tables.complete() {
            let snapshot = self.tables.publish();
            self.generation = snapshot.generation();
            self.snapshots.send_replace(snapshot);
        }
    }

    fn load(&mut self) {
        let directory = &self.options.state_dir;
        let responses = match saved::read(directory, &self.options.node) {
            Ok(None) => return,
            Ok(Some(responses)) => responses,
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "the saved configuration is not used");
                return;
            }
        };
        for response in responses {
            let Some(kind) = Kind::from_url(&response.type_url) else { continue };
            if let Err(refused) = self.tables.apply(kind, response) {
                tracing::warn!(%refused, "the saved configuration is not used");
                self.tables = Tables::default();
                return;
            }
        }
        if !self.tables.complete() {
            self.tables = Tables::default();
            return;
        }
        self.status.send_modify(|status| {
            status.from_disk = true;
            Kind::ALL.into_iter().for_each(|kind| status.of(kind).known = true);
        });
        self.publish(Kind::Mesh);
        tracing::info!("serving the saved configuration until the controller answers");
    }

    async fn finish(mut self) {
        if let Some(saving) = self.saving.take() {
            let _stopped = saving.await;
        }
        self.save();
        if let Some(saving) = self.saving.take() {
            let _stopped = saving.await;
        }
    }
}
