//! Between the kernel and an acknowledgement: a pod counts as applied once it can also prove who it is.

use std::sync::Arc;
use std::time::Duration;

use heddle_core::snapshot::Snapshot;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::datapath::Applied;
use crate::identity::Identities;

/// How long a certificate may hold up an acknowledgement; its absence refuses connections in any case.
const CERTIFICATES: Duration = Duration::from_secs(5);

/// Passes on what the datapath applied, each generation once the enrolled pods have certificates, or after a bound.
pub async fn gate(
    mut applied: watch::Receiver<Applied>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    identities: Arc<Identities>,
    passed: watch::Sender<Applied>,
) {
    let mut changes = identities.changes();
    loop {
        let latest = applied.borrow_and_update().clone();
        let deadline = Instant::now() + CERTIFICATES;
        loop {
            changes.borrow_and_update(); // before the look, so that a change after it is not missed
            let snapshot = snapshots.borrow().clone();
            if latest.generation.0 == 0 || identities.cover(&snapshot) {
                break;
            }
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                break;
            }
        }
        passed.send_replace(latest);
        if applied.changed().await.is_err() {
            return;
        }
    }
}
