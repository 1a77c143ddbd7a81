//! What is learned while traffic flows, per (client identity, cluster), shared by all workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::Identity;
use crate::upstream::budget::{Budget, BudgetLimits};
use crate::upstream::cluster::ClusterKey;
use crate::upstream::health::Health;
use crate::upstream::model::TrafficPolicy;

/// So many may be held before those that nobody uses are forgotten.
const SOFT_BOUND: usize = 1_024;
/// So many are held at the most; what comes on top is not shared between workers.
const HARD_BOUND: usize = 65_536;

/// Health and budget of one cluster as one client identity has it.
#[derive(Debug, Default)]
pub struct ClusterState {
    /// Which endpoints are set aside, how busy each is.
    pub health: Health,
    /// How much is open.
    pub budget: Arc<Budget>,
}

/// All of them, bounded.
#[derive(Debug, Default)]
pub struct ClusterStates {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    states: HashMap<(Identity, ClusterKey), Arc<ClusterState>>,
    /// When it has grown to this, idle ones are looked for.
    prune_at: usize,
}

impl ClusterStates {
    /// The state of a cluster for a client identity, under the policy of today.
    pub fn get(&self, client: &Identity, key: &ClusterKey, policy: &TrafficPolicy) -> Arc<ClusterState> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (client.clone(), key.clone());
        let state = match table.states.get(&place) {
            Some(state) => Arc::clone(state),
            None => table.add(place),
        };
        drop(table);
        state.health.configure(policy.outlier_detection.as_ref());
        state.budget.configure(BudgetLimits::of(policy));
        state
    }

    /// The state of a cluster for a client identity, if there is any.
    pub fn peek(&self, client: &Identity, key: &ClusterKey) -> Option<Arc<ClusterState>> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.states.get(&(client.clone(), key.clone())).cloned()
    }

    /// Everything that is held, in no order.
    pub fn all(&self) -> Vec<(Identity, ClusterKey, Arc<ClusterState>)> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let all = table.states.iter();
        all.map(|((client, key), state)| (client.clone(), key.clone(), Arc::clone(state))).collect()
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).states.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Table {
    fn add(&mut self, place: (Identity, ClusterKey)) -> Arc<ClusterState> {
        if self.states.len() >= self.prune_at.max(SOFT_BOUND) {
            self.states.retain(|_, state| in_use(state) || state.health.ejected() > 0);
            if self.states.len() >= HARD_BOUND {
                self.states.retain(|_, state| in_use(state));
            }
            self.prune_at = self.states.len().saturating_mul(2).min(HARD_BOUND);
        }
        let state = Arc::new(ClusterState::default());
        if self.states.len() < HARD_BOUND {
            self.states.insert(place, Arc::clone(&state));
        }
        state
    }
}

/// Somebody balances with it, or has something open.
fn in_use(state: &Arc<ClusterState>) -> bool {
    Arc::strong_count(state) > 1 || !state.budget.is_idle()
}
