//! Who gets requests while some are set aside, far away, new or resting; and how that is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_core::upstream::model::*;
use heddle_core::upstream::*;
use heddle_core::workload::Workload;
use proptest::prelude::*;

use crate::asking::*;
use crate::world::*;

#[test]
fn who_refuses_connections_rests_a_moment_while_others_are_left() {
    let now = Instant::now();
    for policy in [balanced(Algorithm::RoundRobin), TrafficPolicy::default(), hashing(Ring::RingHash(64))] {
        let balancer = balancer(weighing(&[1, 1, 1]), policy, now);
        let fail = |index: usize, now| {
            balancer.state().health.report(balancer.host(index), Seen::ConnectFailed, now)
        };
        fail(0, now);
        assert_eq!(counts(&balancer, 300, now).keys().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(balancer.explain(now).endpoints[2].state, EndpointState::Resting);
        let tried = [balancer.host(1).address(), balancer.host(2).address()];
        let context = PickContext { tried: &tried, ..at_random(&mut Numbers(1), now) };
        assert_eq!(last(&balancer.pick(&context).unwrap().endpoint), 1, "rather than one that was tried");
        let later = now + Duration::from_secs(1);
        assert_eq!(counts(&balancer, 300, later).len(), 3);
        fail(0, later);
        assert_eq!(counts(&balancer, 300, later + Duration::from_millis(1_900)).len(), 2, "longer each time");
        balancer.state().health.report(balancer.host(0), Seen::Status(500), later);
        assert_eq!(counts(&balancer, 300, later).len(), 3, "it answers");
        (0..3).for_each(|index| fail(index, later));
        assert_eq!(counts(&balancer, 300, later).len(), 3, "nobody else is left");
    }
    let judged = balancer(weighing(&[1, 1]), with_outliers(TrafficPolicy::default(), 0), now);
    judged.state().health.report(judged.host(0), Seen::ConnectFailed, now);
    assert_eq!(counts(&judged, 300, now).len(), 2, "outlier detection alone decides");
}

#[test]
fn those_set_aside_get_nothing_until_they_are_back_or_too_few_are_left() {
    let now = Instant::now();
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::Random] {
        let normal = balancer(weighing(&[1, 1, 1]), with_outliers(balanced(algorithm.clone()), 0), now);
        eject(&normal, 1, now);
        assert_eq!(counts(&normal, 300, now).keys().copied().collect::<Vec<_>>(), [2, 3]);
        eject(&normal, 2, now);
        eject(&normal, 3, now);
        let context = at_random(&mut Numbers(1), now);
        assert_eq!(normal.pick(&context).unwrap_err(), NoEndpoint::NoHealthy);
        assert_eq!(counts(&normal, 300, now + Duration::from_secs(40)).len(), 3, "swept by choosing");
        let panicking = balancer(weighing(&[1, 1, 1]), with_outliers(balanced(algorithm), 50), now);
        eject(&panicking, 1, now);
        assert_eq!(counts(&panicking, 300, now).len(), 2);
        eject(&panicking, 2, now);
        assert_eq!(counts(&panicking, 300, now).len(), 3, "a third is less than half");
    }
    let hashed = balancer(weighing(&[1, 1, 1]), with_outliers(hashing(Ring::Maglev(251)), 0), now);
    let before = owners(&hashed, 3_000, now);
    eject(&hashed, 1, now);
    let after = owners(&hashed, 3_000, now);
    assert!(after.iter().all(|owner| *owner != 1));
    let strayed =
        before.iter().zip(&after).filter(|(before, after)| **before != 1 && before != after).count();
    assert!(strayed < 150, "{strayed} of others moved");
}

#[test]
fn the_next_place_takes_what_the_first_cannot() {
    let now = Instant::now();
    let pods = || {
        let near = (1..=10).map(|number| at("eu/a/1", pod(number, "")));
        near.chain((11..=15).map(|number| at("us/a/1", pod(number, "")))).collect::<Vec<_>>()
    };
    let balancer = balancer(pods(), with_outliers(balanced(Algorithm::RoundRobin), 0), now);
    let abroad = |found: &BTreeMap<u8, u32>| found.range(11..).map(|(_, count)| count).sum::<u32>();
    assert_eq!(abroad(&counts(&balancer, 1_000, now)), 0);
    (1..=2).for_each(|number| eject(&balancer, number, now));
    assert_eq!(abroad(&counts(&balancer, 1_000, now)), 0, "80 % healthy is enough");
    (3..=5).for_each(|number| eject(&balancer, number, now));
    let found = counts(&balancer, 10_000, now);
    assert!(near(abroad(&found), 3_000.0, 0.1), "70 % stay: {found:?}");
    (6..=10).for_each(|number| eject(&balancer, number, now));
    assert_eq!(abroad(&counts(&balancer, 1_000, now)), 1_000);
    let told = balancer.explain(now);
    assert_eq!(told.levels[0], LevelView { total: 10, healthy: 0, percent: 0, panic: false });
    assert_eq!((told.endpoints[0].name.as_str(), told.endpoints[0].share), ("web-11", 20.0));
    let tried = balancer
        .cluster()
        .endpoints
        .iter()
        .filter(|it| it.priority == 1)
        .map(|it| it.address)
        .collect::<Vec<_>>();
    let context = PickContext { tried: &tried[1..], ..at_random(&mut Numbers(1), now) };
    assert_eq!(balancer.pick(&context).unwrap().endpoint.address, tried[0]);
}

#[test]
fn places_get_their_shares() {
    let now = Instant::now();
    let to = BTreeMap::from([("eu/a/*".to_owned(), 80), ("us/*".to_owned(), 20)]);
    let locality = Locality { distribute: vec![("eu/*".to_owned(), to)], ..Locality::default() };
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::Random] {
        let balancing = LoadBalancer { algorithm, locality: Some(locality.clone()), warmup: None };
        let policy = TrafficPolicy { load_balancer: Some(balancing), ..TrafficPolicy::default() };
        let pods = [
            at("eu/a/1", pod(1, "")),
            at("us/b/2", pod(2, "")),
            at("us/b/2", pod(3, "")),
            at("ap/a/1", pod(4, "")),
        ];
        let balancer = balancer(pods, with_outliers(policy, 0), now);
        let found = counts(&balancer, 1_000, now);
        assert!(found[&1].abs_diff(800) <= 1 && !found.contains_key(&4), "{found:?}");
        eject(&balancer, 1, now);
        assert_eq!(counts(&balancer, 1_000, now).keys().copied().collect::<Vec<_>>(), [2, 3]);
    }
}

#[test]
fn new_endpoints_are_eased_in() {
    let start = Instant::now();
    let warmup = Warmup { duration: Duration::from_secs(100), minimum_percent: 10.0, aggression: 1.0 };
    let of = |algorithm, aggression| {
        let warmup = Some(Warmup { aggression, ..warmup });
        TrafficPolicy {
            load_balancer: Some(LoadBalancer { algorithm, locality: None, warmup }),
            ..TrafficPolicy::default()
        }
    };
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastRequest] {
        let mut balancer = balancer(weighing(&[1, 1]), of(algorithm.clone(), 1.0), start);
        let later = start + Duration::from_secs(1_000);
        balancer.update(built(weighing(&[1, 1, 1]), of(algorithm.clone(), 1.0)), later);
        // The third has the part of a weight that this share of the requests shows.
        let part = |after: u64| {
            let now = later + Duration::from_secs(after);
            let found = counts(&balancer, 5_000, now);
            let share = f64::from(found[&3]) / 5_000.0;
            2.0 * share / (1.0 - share)
        };
        for (after, wanted) in [(1, 0.1), (50, 0.5), (90, 0.9), (101, 1.0)] {
            assert!((part(after) - wanted).abs() < 0.06, "{algorithm:?} after {after} s: {}", part(after));
        }
        let told = balancer.explain(later + Duration::from_secs(25));
        let third = told.endpoints.iter().find(|view| view.name == "web-3").unwrap();
        assert_eq!(third.warmup_percent, Some(25.0));
        balancer.update(built(weighing(&[1, 1, 1]), of(algorithm, 2.0)), later);
        let third = balancer.explain(later + Duration::from_secs(25)).endpoints[2].warmup_percent;
        assert_eq!(third, Some(50.0), "a quarter of the time, its square root of the weight");
    }
}

#[test]
fn an_explanation_names_everybody_and_why() {
    let now = Instant::now();
    let mut written = rule("n/r", WEB, with_outliers(TrafficPolicy::default(), 0));
    written.subsets = vec![subset("v1", &[("version", "v1")], Default::default())];
    let pods = [
        at("eu/a/1", pod(1, "version=v1")),
        at("eu/a/1", pod(2, "version=v1")),
        at("us/b/1", pod(3, "version=v1")),
        pod(4, ""),
    ];
    let snapshot = world(pods, vec![written]);
    let cluster = cluster_for(&snapshot, "c", "eu/a/1", &[], &ClusterKey::subset(WEB, 80, "v1"));
    let state = Arc::new(ClusterState::default());
    state.health.configure(cluster.policy.outlier_detection.as_ref());
    let balancer = Balancer::new(Arc::new(cluster), state, now);
    eject(&balancer, 2, now);
    let told = balancer.explain(now + Duration::from_secs(5));
    let lines: Vec<String> = told
        .endpoints
        .iter()
        .map(|it| format!("{} {:?} {:.0}: {}", it.name, it.state, it.share, it.why))
        .collect();
    let wanted = [
        "web-1 Used 70: priority 0 gets 70 %",
        "web-3 Used 30: priority 1 gets 30 %",
        "web-2 Ejected 0: set aside for consecutive_5xx, 25 s more, 1 in a row",
        "web-4 Excluded 0: not in the subset: label version is absent, not v1",
    ];
    assert_eq!(lines, wanted);
    assert_eq!((told.algorithm.as_str(), told.refused, told.rules.len()), ("LEAST_REQUEST", None, 1));
}

fn any_algorithm() -> impl Strategy<Value = TrafficPolicy> {
    let hash = |ring| Algorithm::ConsistentHash { key: HashKey::SourceIp, ring };
    let all = [
        Algorithm::RoundRobin,
        Algorithm::LeastRequest,
        Algorithm::Random,
        hash(Ring::RingHash(8)),
        hash(Ring::Maglev(11)),
    ];
    (prop::sample::select(all.to_vec()), 0..60_u64, any::<bool>()).prop_map(|(algorithm, warm, spread)| {
        let to = BTreeMap::from([("eu/*".to_owned(), 70), ("us/*".to_owned(), 30)]);
        let locality = Locality { distribute: vec![("*".to_owned(), to)], ..Locality::default() };
        let warmup = Warmup { duration: Duration::from_secs(warm), minimum_percent: 10.0, aggression: 1.5 };
        let balancing =
            LoadBalancer { algorithm, locality: spread.then_some(locality), warmup: Some(warmup) };
        TrafficPolicy { load_balancer: Some(balancing), ..TrafficPolicy::default() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_choice_is_one_that_may_be_chosen(
        policy in any_algorithm(), min_health in prop::sample::select(vec![0_u32, 50]),
        steps in prop::collection::vec((0..8_u8, any::<u64>(), 0..20_u64), 1..60),
    ) {
        let places = ["eu/a/1", "eu/a/1", "eu/b/1", "us/a/1", "us/a/2", "ap/a/1"];
        let pods = |mask: u64| {
            let there = (1..=6_u8).filter(move |number| mask >> number & 1 == 1);
            there.map(|number| Workload { weight: u32::from(number % 3), ..at(places[usize::from(number) - 1], pod(number, "")) })
        };
        let policy = with_outliers(policy, min_health);
        let mut now = Instant::now();
        let mut balancer = balancer(pods(u64::MAX), policy.clone(), now);
        let mut held = Vec::new();
        for (what, random, pause) in steps {
            now += Duration::from_secs(pause);
            let count = balancer.cluster().endpoints.len();
            let some = usize::try_from(random).unwrap() % count.max(1);
            match what {
                0 => balancer.update(built(pods(random), policy.clone()), now),
                1 => drop(held.pop()),
                2 | 3 if count > 0 => {
                    (0..5).for_each(|_| balancer.state().health.report(balancer.host(some), Seen::Reset, now));
                }
                _ => {}
            }
            let endpoints = balancer.cluster().endpoints.clone();
            let tried: Vec<SocketAddr> = endpoints.iter().skip(some).take(2).map(|it| it.address).collect();
            let hash = (random % 2 == 0).then_some(random);
            for tried in [&[][..], &tried] {
                let context = PickContext { hash, random, now, tried, left: &[], dialled: None };
                let Ok(picked) = balancer.pick(&context) else {
                    let healthy = (0..endpoints.len()).any(|index| !balancer.host(index).is_ejected());
                    prop_assert!(!healthy, "somebody is well");
                    continue;
                };
                let index = picked.index.unwrap();
                prop_assert!(Arc::ptr_eq(&picked.endpoint, &endpoints[index]));
                prop_assert!(min_health > 0 || !picked.host.is_ejected());
                let again = tried.contains(&picked.endpoint.address);
                let left = (0..endpoints.len()).any(|index| {
                    !balancer.host(index).is_ejected()
                        && !tried.contains(&endpoints[index].address)
                        && endpoints[index].priority == picked.endpoint.priority
                });
                prop_assert!(!again || !left, "{} was tried, and another of its priority is left", picked.endpoint.name());
                held.push(picked.host.enter());
            }
            let told = balancer.explain(now);
            let sum: f64 = told.endpoints.iter().map(|view| view.share).sum();
            prop_assert!((sum - 100.0).abs() < 0.01 || told.endpoints.iter().all(|view| view.share == 0.0), "{told:?}");
        }
    }
}

#[test]
fn a_repetition_stays_in_its_priority_unless_it_may_leave_it() {
    let now = Instant::now();
    let places = ["eu/a/1", "eu/b/1", "us/a/1"];
    let pods = || places.iter().zip(1..).map(|(place, number)| at(place, pod(number, "")));
    let here = |policy| {
        let snapshot = world(pods(), vec![rule("n/r", WEB, policy)]);
        Arc::new(cluster_for(&snapshot, "c", "eu/a/1", &[], &ClusterKey::new(WEB, 80)))
    };
    for policy in [balanced(Algorithm::RoundRobin), balanced(Algorithm::Random), hashing(Ring::Maglev(251))] {
        let cluster = here(with_outliers(policy, 0));
        let balancer = Balancer::new(cluster, Arc::default(), now);
        let tried: Vec<SocketAddr> = balancer.cluster().endpoints.iter().map(|it| it.address).collect();
        for (left, wanted) in
            [(&[][..], 1), (&[0], 1), (&[0, 0], 2), (&[0, 0, 1, 1], 3), (&[0, 0, 1, 1, 2, 2], 1)]
        {
            let context = PickContext { tried: &tried[..1], left, ..at_random(&mut Numbers(1), now) };
            assert_eq!(last(&balancer.pick(&context).unwrap().endpoint), wanted, "after {left:?}");
        }
    }
}
