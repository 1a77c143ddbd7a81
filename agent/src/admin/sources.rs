//! Everything that the admin endpoints look at; they change none of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::ClusterStates;
use tokio::sync::watch;

use super::LogLevel;
use crate::control::{ControlStatus, Publications};
use crate::datapath::inspect::Inspector;
use crate::datapath::{Applied, Captured};
use crate::identity::Identities;
use crate::traffic::Workers;

/// Read-only views of the running agent.
#[derive(Debug)]
pub struct Sources {
    /// This node.
    pub node: String,
    /// The controller's address.
    pub controller: String,
    /// Configuration and control status.
    pub publications: Publications,
    /// What the kernel was brought to.
    pub applied: watch::Receiver<Applied>,
    /// What was learned of clusters: health, budgets.
    pub clusters: Arc<ClusterStates>,
    /// Certificates.
    pub identities: Arc<Identities>,
    /// The kernel side.
    pub inspector: Inspector,
    /// The live tables.
    pub workers: Arc<Workers>,
    /// Pods that are captured, which say whose interface is whose.
    pub captured: watch::Receiver<Arc<Captured>>,
    /// Metrics of connections.
    pub registry: prometheus::Registry,
    /// The log's level, the one thing that can be set.
    pub log_level: LogLevel,
    /// Set once SIGTERM came.
    pub draining: Arc<AtomicBool>,
}

impl Sources {
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.publications.snapshots.borrow().clone()
    }

    pub(super) fn status(&self) -> ControlStatus {
        self.publications.status.borrow().clone()
    }

    pub(super) fn applied(&self) -> Applied {
        self.applied.borrow().clone()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether the node may be counted on: a whole configuration is in force, kernel included, and no end is near.
    pub(super) fn is_ready(&self) -> bool {
        self.applied().generation.0 > 0 && !self.is_draining()
    }
}
