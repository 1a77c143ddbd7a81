//! How much is too much: budgets, repetitions, endpoints set aside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_core::identity::Identity;
use heddle_core::route::model::Retries;
use heddle_core::store::MeshTraffic;
use heddle_core::upstream::model::*;
use heddle_core::upstream::*;
use proptest::prelude::*;

use crate::world::*;

#[test]
fn nothing_is_bounded_unless_written_but_repetitions_are_a_fifth_of_the_last_seconds_and_ten_a_second() {
    let (budget, start) = (Arc::new(Budget::default()), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    let retries = |seconds: u64| (0..10_000).take_while(|_| budget.try_retry(at(seconds)).is_some()).count();
    assert_eq!(retries(0), 100, "before anything is known");
    assert_eq!(budget.counts(), BudgetCounts { open: [0; 4], overflow: [0, 0, 0, 1] });
    let under_way: Vec<_> = (0..500).map(|_| budget.try_request(at(5)).unwrap()).collect();
    assert_eq!(budget.open(BudgetKind::Requests), 500);
    drop(under_way);
    assert_eq!(retries(6), 100, "a fifth of 500, whatever became of them");
    assert_eq!(retries(10), 100, "what was taken at first is ten seconds ago");
    assert_eq!(retries(14), 0);
    assert_eq!(retries(15), 0, "and so are the requests");
    assert_eq!(retries(16), 0, "100 of the last ten seconds");
    assert_eq!(retries(20), 100);
    assert!(budget.is_idle());
    // However long nobody came.
    assert_eq!(retries(100_000), 100);
}

#[test]
fn bounds_are_kept_and_may_change_while_something_is_open() {
    let pool = ConnectionPool {
        max_connections: Some(2),
        max_pending_requests: Some(1),
        max_requests: Some(0),
        max_retries: Some(5),
        ..ConnectionPool::default()
    };
    let policy = TrafficPolicy { connection_pool: Some(pool), ..TrafficPolicy::default() };
    let limits = BudgetLimits::of(&policy);
    assert_eq!((limits.requests, limits.retries), (u32::MAX, Some(5)), "zero is not written");
    let budget = Arc::new(Budget::default());
    budget.configure(limits);
    let (first, second) = (budget.try_connection().unwrap(), budget.try_connection().unwrap());
    assert!(budget.try_connection().is_none());
    drop(first);
    let third = budget.try_connection().unwrap();
    budget.configure(BudgetLimits { connections: 1, ..limits });
    drop(third);
    assert!(budget.try_connection().is_none(), "one is still open");
    drop(second);
    assert!(budget.try_connection().is_some());
}

proptest! {
    #[test]
    fn budgets_never_go_negative_nor_beyond(steps in prop::collection::vec((0..4_usize, any::<bool>()), 0..200), limit in 1..8_u32) {
        let budget = Arc::new(Budget::default());
        budget.configure(BudgetLimits { connections: limit, pending: limit, requests: limit, retries: Some(limit) });
        let now = Instant::now();
        let mut held: [Vec<BudgetGuard>; 4] = Default::default();
        for (kind, take) in steps {
            if take {
                let taken = match kind {
                    0 => budget.try_connection(),
                    1 => budget.try_pending(),
                    2 => budget.try_request(now),
                    _ => budget.try_retry(now),
                };
                prop_assert_eq!(taken.is_some(), held[kind].len() < limit as usize);
                held[kind].extend(taken);
            } else {
                held[kind].pop();
            }
            let open = held.each_ref().map(|guards| guards.len() as u32);
            prop_assert_eq!(budget.counts().open, open);
        }
    }
}

#[test]
fn budgets_hold_between_threads() {
    let budget = Arc::new(Budget::default());
    budget.configure(BudgetLimits { requests: 8, ..BudgetLimits::default() });
    std::thread::scope(|scope| {
        for seed in 0..4_u64 {
            let budget = &budget;
            scope.spawn(move || {
                let mut held = Vec::new();
                for step in 0..20_000_u64 {
                    match (step.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed) >> 62 {
                        0 => drop(held.pop()),
                        _ => held.extend(budget.try_request(Instant::now())),
                    }
                    assert!(budget.open(BudgetKind::Requests) <= 8);
                }
            });
        }
    });
    assert!(budget.is_idle());
}

fn policy(on: &str) -> RetryPolicy {
    let retries = Retries { attempts: 2, retry_on: on.to_owned(), ..Retries::default() };
    RetryPolicy::of(Some(&retries), &MeshTraffic::default())
}

fn status(status: u16) -> Attempted {
    Attempted::Response { status, grpc_status: None, ratelimited: false }
}

fn grpc(code: u32) -> Attempted {
    Attempted::Response { status: 200, grpc_status: Some(code), ratelimited: false }
}

#[test]
fn each_condition_repeats_what_envoy_repeats() {
    let lost = Attempted::Reset { sent: true };
    let unsent = Attempted::Reset { sent: false };
    let all = [
        ("failed", Attempted::ConnectFailed),
        ("refused", Attempted::RefusedStream),
        ("lost", lost),
        ("unsent", unsent),
        ("late", Attempted::PerTryTimeout),
        ("200", status(200)),
        ("409", status(409)),
        ("429", status(429)),
        ("500", status(500)),
        ("503", status(503)),
        ("limited", Attempted::Response { status: 503, grpc_status: None, ratelimited: true }),
        ("g1", grpc(1)),
        ("g4", grpc(4)),
        ("g8", grpc(8)),
        ("g13", grpc(13)),
        ("g14", grpc(14)),
        ("g0", grpc(0)),
    ];
    let rows = [
        ("5xx", "failed refused lost unsent late 500 503"),
        ("gateway-error", "failed refused lost unsent late 503"),
        ("reset", "failed refused lost unsent late"),
        ("reset-before-request", "failed unsent"),
        ("connect-failure", "failed unsent"),
        ("refused-stream", "refused"),
        ("retriable-4xx", "409"),
        ("retriable-status-codes", ""),
        ("retriable-status-codes,429", "429"),
        ("429, 503", "429 503"),
        ("envoy-ratelimited", "limited"),
        ("cancelled", "g1"),
        ("deadline-exceeded", "g4"),
        ("resource-exhausted", "g8"),
        ("internal", "g13"),
        ("unavailable", "g14"),
        ("", "failed refused unsent g1 g14"),
    ];
    for (on, wanted) in rows {
        let policy = policy(on);
        let found: Vec<&str> = all
            .iter()
            .filter(|(_, attempted)| policy.should_retry(attempted, 0))
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(found.join(" "), wanted, "{on}");
        assert!(all.iter().all(|(_, attempted)| !policy.should_retry(attempted, 2)), "{on}: no third time");
    }
}

#[test]
fn unknown_words_are_told_and_the_others_count() {
    let policy = policy("503, resets,5xx,,700");
    assert_eq!(policy.unknown, ["resets", "700"]);
    assert!(policy.should_retry(&status(500), 0));
}

#[test]
fn a_rule_counts_before_the_mesh_and_the_mesh_before_istio() {
    let of = |attempts| Retries { attempts, retry_on: "5xx".to_owned(), ..Retries::default() };
    let mesh = MeshTraffic { retries: Some(of(7)), ..MeshTraffic::default() };
    assert_eq!(RetryPolicy::of(None, &MeshTraffic::default()).attempts, 2);
    assert_eq!(RetryPolicy::of(None, &mesh).attempts, 7);
    assert!(!RetryPolicy::of(Some(&of(0)), &mesh).should_retry(&status(500), 0));
}

#[test]
fn what_may_be_repeated_anyway_is_where_nobody_has_written_conditions() {
    let lost = Attempted::Reset { sent: true };
    let default = RetryPolicy::of(None, &MeshTraffic::default());
    assert!(default.should_retry_idempotent(&lost, 1) && !default.should_retry(&lost, 1));
    assert!(!default.should_retry_idempotent(&lost, 2) && !default.should_retry_idempotent(&status(503), 0));
    assert!(!policy("connect-failure").should_retry_idempotent(&lost, 0));
    assert!(default.avoids_tried(false) && !default.avoids_tried(true));
    let inbound = RetryPolicy::inbound();
    assert!(inbound.should_retry(&Attempted::Reset { sent: false }, 0) && !inbound.should_retry(&lost, 0));
}

#[test]
fn pauses_grow_to_ten_times_the_base_and_are_jittered() {
    let policy = policy("");
    let longest = |retry| (0..10_000).map(|at| policy.backoff(retry, at * 7_919_777)).max().unwrap();
    for (retry, millis) in [(1, 25), (2, 75), (3, 175), (4, 250), (9, 250), (200, 250)] {
        let bound = Duration::from_millis(millis);
        assert!(longest(retry) < bound && longest(retry) > bound * 9 / 10, "{retry}: {:?}", longest(retry));
    }
}

#[test]
fn where_a_route_names_the_least_pause_none_is_shorter() {
    let least = Some(Duration::from_millis(100));
    let retries = Retries { attempts: 3, backoff: least, least_backoff: least, ..Retries::default() };
    let policy = RetryPolicy::of(Some(&retries), &MeshTraffic::default());
    for retry in 1..5 {
        let pauses = (0..1_000).map(|at| policy.backoff(retry, at * 7_919_777));
        let (shortest, longest) = (pauses.clone().min().unwrap(), pauses.max().unwrap());
        assert!(shortest >= Duration::from_millis(100) && longest > Duration::from_millis(150), "{retry}");
    }
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 244, 1, last], 8080))
}

fn outliers(percent: u32) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: Some(3),
        max_ejection_percent: Some(percent),
        ..OutlierDetection::default()
    }
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn an_endpoint_that_fails_in_a_row_is_set_aside_longer_each_time() {
    let (health, start) = (Health::default(), Instant::now());
    health.configure(Some(&outliers(100)));
    let hosts = health.set_members((1..=3).map(address), start);
    health.sweep(start);
    let fail = |now| (0..3).for_each(|_| health.report(&hosts[0], Seen::Status(500), now));
    health.report(&hosts[0], Seen::Status(500), start);
    health.report(&hosts[0], Seen::Status(200), start);
    health.report(&hosts[0], Seen::Status(500), start);
    health.report(&hosts[0], Seen::Status(500), start);
    assert!(!hosts[0].is_ejected(), "not in a row");
    fail(start);
    assert!(hosts[0].is_ejected() && health.ejected() == 1);
    let told = &health.ejections()[0];
    assert_eq!((told.address, told.cause, told.times), (address(1), "consecutive_5xx", 1));
    assert_eq!(told.until - told.since, seconds(30));
    health.sweep(start + seconds(29));
    assert!(hosts[0].is_ejected());
    health.sweep(start + seconds(30));
    assert!(!hosts[0].is_ejected() && health.ejected() == 0);
    // Before a sweep has found it in use: twice as long.
    fail(start + seconds(31));
    assert_eq!(health.ejections()[0].times, 2);
    health.sweep(start + seconds(90));
    assert!(hosts[0].is_ejected(), "swept at 90, over at 91");
    health.sweep(start + seconds(100));
    assert!(!hosts[0].is_ejected());
    let events = health.events();
    let told: Vec<_> = events.iter().map(|event| (event.at - start, event.cause)).collect();
    let cause = Some("consecutive_5xx");
    assert_eq!(told, [(seconds(0), cause), (seconds(30), None), (seconds(31), cause), (seconds(100), None)]);
    // Two sweeps that found it in use have forgiven two.
    health.sweep(start + seconds(120));
    fail(start + seconds(121));
    assert_eq!(health.ejections()[0].times, 1);
}

#[test]
fn never_more_than_the_percentage_but_one_always() {
    let (health, now) = (Health::default(), Instant::now());
    for (count, percent, wanted) in
        [(3, 10, 1), (10, 10, 1), (10, 30, 3), (10, 35, 3), (4, 50, 2), (4, 100, 4), (10, 0, 1)]
    {
        health.configure(None);
        health.configure(Some(&outliers(percent)));
        let hosts = health.set_members((1..=count).map(address), now);
        hosts.iter().for_each(|host| (0..6).for_each(|_| health.report(host, Seen::Status(500), now)));
        assert_eq!(health.ejected(), wanted, "{percent} % of {count}");
    }
    assert!(health.overflow() > 0);
}

#[test]
fn gateway_errors_and_local_errors_count_by_themselves_where_asked() {
    let now = Instant::now();
    let run = |policy: &OutlierDetection, seen: &[Seen]| {
        let health = Health::default();
        health.configure(Some(policy));
        let hosts = health.set_members((1..=2).map(address), now);
        seen.iter().for_each(|seen| health.report(&hosts[0], *seen, now));
        health.ejections().first().map(|ejection| ejection.cause)
    };
    let gateway = OutlierDetection {
        consecutive_5xx: Some(0),
        consecutive_gateway_errors: Some(2),
        ..Default::default()
    };
    assert_eq!(run(&gateway, &[Seen::Status(503); 2]), Some("consecutive_gateway_failure"));
    assert_eq!(run(&gateway, &[Seen::ConnectFailed, Seen::Timeout]), Some("consecutive_gateway_failure"));
    assert_eq!(run(&gateway, &[Seen::Status(503), Seen::Status(500), Seen::Status(503)]), None);
    assert_eq!(run(&gateway, &[Seen::Grpc(200, 14); 2]), Some("consecutive_gateway_failure"));
    assert_eq!(run(&gateway, &[Seen::Grpc(200, 5); 9]), None);
    let default = OutlierDetection::default();
    assert_eq!(run(&default, &[Seen::Reset; 5]), Some("consecutive_5xx"));
    assert_eq!(
        run(&default, &[Seen::Reset, Seen::Reset, Seen::Connected, Seen::Reset, Seen::Reset, Seen::Reset]),
        None
    );
    let split = OutlierDetection {
        split_local_origin: true,
        consecutive_local_origin: Some(2),
        ..Default::default()
    };
    assert_eq!(run(&split, &[Seen::Reset, Seen::Timeout]), Some("consecutive_local_origin_failure"));
    assert_eq!(run(&split, &[Seen::Reset, Seen::Connected, Seen::Reset]), None);
    assert_eq!(run(&split, &[Seen::Status(500); 5]), Some("consecutive_5xx"));
}

#[test]
fn what_is_known_of_an_endpoint_outlives_rebuilds_and_goes_with_it() {
    let (health, now) = (Health::default(), Instant::now());
    health.configure(Some(&outliers(100)));
    let before = health.set_members((1..=3).map(address), now);
    (0..3).for_each(|_| health.report(&before[0], Seen::Status(500), now));
    let active = before[1].enter();
    let after = health.set_members((1..=5).map(address), now + seconds(1));
    assert!(after[0].is_ejected() && after[1].active() == 1);
    assert_eq!(after[4].joined(), now + seconds(1));
    health.set_members((2..=5).map(address), now);
    assert_eq!(health.ejected(), 1, "somebody still chooses among them");
    let left = after[1..].to_vec();
    drop((before, after));
    health.set_members((2..=5).map(address), now);
    assert_eq!(health.ejected(), 0, "gone with the endpoint");
    drop(active);
    assert_eq!(left[0].active(), 0);
    health.configure(None);
    (0..9).for_each(|_| health.report(&left[1], Seen::Status(500), now));
    assert_eq!(health.ejected(), 0, "nobody asked");
}

proptest! {
    #[test]
    fn outlier_detection_never_ejects_beyond_the_percentage(
        count in 1..12_u8, percent in 1..100_u32,
        steps in prop::collection::vec((0..12_usize, 0..4_u8, 0..5_u64), 0..300),
    ) {
        let (health, mut now) = (Health::default(), Instant::now());
        health.configure(Some(&outliers(percent)));
        let hosts = health.set_members((1..=count).map(address), now);
        for (host, what, pause) in steps {
            now += seconds(pause);
            health.sweep(now);
            let seen = if what == 0 { Seen::Status(200) } else { Seen::Status(500) };
            health.report(&hosts[host % hosts.len()], seen, now);
            let most = (u32::from(count) * percent / 100).max(1);
            prop_assert!(health.ejected() <= most);
            let counted = hosts.iter().filter(|host| host.is_ejected()).count();
            prop_assert_eq!(counted, health.ejected() as usize);
        }
    }
}

#[test]
fn states_are_shared_and_forgotten_when_nobody_uses_them() {
    let states = ClusterStates::default();
    let who = |name: &str| Identity::new("cluster.local", "n", name).unwrap();
    let key = ClusterKey::new(WEB, 80);
    let first = states.get(&who("a"), &key, &numbered(1));
    let guard = first.budget.try_connection().unwrap();
    assert!(
        states.get(&who("a"), &key, &numbered(1)).budget.try_connection().is_none(),
        "one for all workers"
    );
    assert!(states.get(&who("b"), &key, &numbered(1)).budget.try_connection().is_some(), "another identity");
    for number in 0..5_000 {
        let _ = states.get(&who("a"), &ClusterKey::new(format!("h{number}"), 80), &numbered(1));
    }
    assert!(states.len() < 2_100, "{}", states.len());
    drop(first);
    assert!(
        states.get(&who("a"), &key, &numbered(1)).budget.try_connection().is_none(),
        "still open, still known"
    );
    drop(guard);
}
