//! What is learned while traffic flows, per (client identity, cluster), shared by all workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::Identity;
use crate::upstream::budget::{Budget, BudgetLimits};
use crate::upstream::cluster::ClusterKey;
use crate::upstream::health::Health;
use crate::upstream::model::TrafficPolicy;

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
    states: Mutex<HashMap<(Identity, ClusterKey), Arc<ClusterState>>>,
}

impl ClusterStates {
    /// The state of a cluster for a client identity, under the policy of today.
    pub fn get(&self, client: &Identity, key: &ClusterKey, policy: &TrafficPolicy) -> Arc<ClusterState> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = Arc::clone(states.entry((client.clone(), key.clone())).or_default());
        drop(states);
        state.health.configure(policy.outlier_detection.as_ref());
        state.budget.configure(BudgetLimits::of(policy));
        state
    }
}
