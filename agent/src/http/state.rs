//! What the HTTP connections of one worker share: clusters, and what is worth making once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use heddle_core::names::Generation;
use heddle_core::route::model::Retries;
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::{ClusterStates, RetryPolicy};
use tokio_util::task::TaskTracker;

use super::upstream::Clusters;
use super::upstream::tls::Originator;
use crate::dns::Names;

/// One worker's.
#[derive(Debug)]
pub struct HttpState {
    /// Where its pods' requests go.
    pub clusters: Clusters,
    /// TLS that rules ask for.
    pub tls: Originator,
    retries: RefCell<Parsed>,
    names: [Arc<str>; 3],
}

/// Retry settings by the address of their text, which lives as long as the entry.
#[derive(Debug, Default)]
struct Parsed {
    generation: Option<Generation>,
    default: Option<Rc<RetryPolicy>>,
    rules: HashMap<usize, (Arc<Retries>, Rc<RetryPolicy>)>,
}

impl HttpState {
    /// `states` and `names` are shared by all workers.
    pub fn new(states: Arc<ClusterStates>, names: Arc<Names>, tasks: TaskTracker) -> Self {
        Self {
            clusters: Clusters::new(states, names, tasks),
            tls: Originator::default(),
            retries: RefCell::default(),
            names: ["default".into(), "PassthroughCluster".into(), "BlackHoleCluster".into()],
        }
    }

    /// The name of a route that has none.
    pub fn default_route(&self) -> Arc<str> {
        self.names[0].clone()
    }

    /// The cluster of what is outside the mesh.
    pub fn passthrough(&self) -> Arc<str> {
        self.names[1].clone()
    }

    /// The cluster of what nobody may reach.
    pub fn black_hole(&self) -> Arc<str> {
        self.names[2].clone()
    }

    /// The retry settings of a rule, parsed once a configuration.
    pub fn retry_policy(&self, rule: Option<&Arc<Retries>>, snapshot: &Snapshot) -> Rc<RetryPolicy> {
        let mut parsed = self.retries.borrow_mut();
        if parsed.generation != Some(snapshot.generation()) {
            *parsed = Parsed { generation: Some(snapshot.generation()), ..Parsed::default() };
        }
        let mesh = &snapshot.mesh().traffic;
        let Some(rule) = rule else {
            return parsed.default.get_or_insert_with(|| Rc::new(RetryPolicy::of(None, mesh))).clone();
        };
        let entry = parsed.rules.entry(Arc::as_ptr(rule).addr());
        let (_, policy) = entry.or_insert_with(|| (rule.clone(), Rc::new(RetryPolicy::of(Some(rule), mesh))));
        policy.clone()
    }
}
