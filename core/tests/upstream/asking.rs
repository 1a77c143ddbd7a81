//! Balancers to ask, and counts of their answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use heddle_core::upstream::model::*;
use heddle_core::upstream::*;
use heddle_core::workload::Workload;

use crate::world::*;

/// Numbers that look random, and are the same in each run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 ^ (self.0 >> 29)).wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

pub(crate) fn built(pods: impl IntoIterator<Item = Workload>, policy: TrafficPolicy) -> Arc<Cluster> {
    let snapshot = world(pods, vec![rule("n/r", WEB, policy)]);
    Arc::new(cluster_for(&snapshot, "c", "eu/a/1", &[], &ClusterKey::new(WEB, 80)))
}

pub(crate) fn balancer(
    pods: impl IntoIterator<Item = Workload>,
    policy: TrafficPolicy,
    now: Instant,
) -> Balancer {
    let state = Arc::new(ClusterState::default());
    state.health.configure(policy.outlier_detection.as_ref());
    Balancer::new(built(pods, policy), state, now)
}

pub(crate) fn at_random(numbers: &mut Numbers, now: Instant) -> PickContext<'static> {
    PickContext { hash: None, random: numbers.next(), now, tried: &[], left: &[], dialled: None }
}

/// How often each endpoint is chosen, by the last number of its address.
pub(crate) fn counts(balancer: &Balancer, times: u32, now: Instant) -> BTreeMap<u8, u32> {
    let mut numbers = Numbers(1);
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        let picked = balancer.pick(&at_random(&mut numbers, now)).unwrap();
        *counts.entry(last(&picked.endpoint)).or_insert(0) += 1;
    }
    counts
}

pub(crate) fn last(endpoint: &Endpoint) -> u8 {
    let SocketAddr::V4(address) = endpoint.address else { panic!("{endpoint:?}") };
    address.ip().octets()[3]
}

pub(crate) fn weighing(weights: &[u32]) -> Vec<Workload> {
    weights.iter().zip(1..).map(|(weight, number)| Workload { weight: *weight, ..pod(number, "") }).collect()
}

pub(crate) fn eject(balancer: &Balancer, number: u8, now: Instant) {
    let index = balancer.cluster().endpoints.iter().position(|endpoint| last(endpoint) == number).unwrap();
    (0..5).for_each(|_| balancer.state().health.report(balancer.host(index), Seen::Status(500), now));
    assert!(balancer.host(index).is_ejected());
}

pub(crate) fn with_outliers(policy: TrafficPolicy, min_health: u32) -> TrafficPolicy {
    let outliers = OutlierDetection {
        max_ejection_percent: Some(100),
        min_health_percent: Some(min_health),
        ..OutlierDetection::default()
    };
    TrafficPolicy { outlier_detection: Some(outliers), ..policy }
}

pub(crate) fn near(found: u32, wanted: f64, slack: f64) -> bool {
    (f64::from(found) - wanted).abs() <= wanted * slack
}

pub(crate) fn hashing(ring: Ring) -> TrafficPolicy {
    balanced(Algorithm::ConsistentHash { key: HashKey::SourceIp, ring })
}

pub(crate) fn owners(balancer: &Balancer, keys: u64, now: Instant) -> Vec<u8> {
    let owner = |key: u64| {
        let hash = Some(hash_key(&key.to_be_bytes()));
        last(
            &balancer
                .pick(&PickContext { hash, random: 0, now, tried: &[], left: &[], dialled: None })
                .unwrap()
                .endpoint,
        )
    };
    (0..keys).map(owner).collect()
}
