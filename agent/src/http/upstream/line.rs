//! Waiting for connections that other pools have, and giving up one's own for others that wait.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use heddle_core::upstream::{Budget, BudgetKind, Turn};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::connection::Connection1;
use super::pool::EndpointPool;

/// How long one waits to be called before it looks by itself: places that connections to other endpoints had call nobody.
const RECALL: Duration = Duration::from_secs(1);

/// Waits for a connection that comes back to the pool, or for a place that is free; `None`: look again.
pub(super) async fn wait(turn: &Turn, back: &mut oneshot::Receiver<Connection1>) -> Option<Connection1> {
    tokio::select! {
        back = back => back.ok(),
        () = called(turn) => None,
    }
}

/// Until it is worth while to look again.
pub(super) async fn called(turn: &Turn) {
    // To have waited long enough is as good as to be called.
    drop(timeout(RECALL, poll_fn(|cx| turn.poll_called(cx))).await);
}

/// From its first connection on a bounded pool hears of others that wait.
pub(super) fn listen(pool: &Rc<EndpointPool>, budget: &Arc<Budget>, tasks: &TaskTracker) {
    if budget.limit(BudgetKind::Connections) == u32::MAX || pool.listening.replace(true) {
        return;
    }
    let (places, id, over) = (pool.places.clone(), pool.id(), pool.over.clone());
    let pool = Rc::downgrade(pool);
    tasks.spawn_local(async move {
        let mut heard = 0;
        loop {
            let wanted = poll_fn(|cx| places.poll_wanted(cx, id, heard));
            tokio::select! {
                latest = wanted => heard = latest,
                () = over.cancelled() => return,
            }
            let Some(pool) = pool.upgrade() else { return };
            pool.yield_places();
        }
    });
}
