//! Which DestinationRule counts for whom, and what several make together.

use heddle_core::object::TrafficObject;
use heddle_core::store::Store;
use heddle_core::upstream::ClusterKey;
use heddle_core::upstream::model::*;
use proptest::prelude::*;

use crate::world::*;

/// The number of the policy that a client of a namespace meets.
fn met(rules: Vec<DestinationRule>, namespace: &str, pairs: &[(&str, &str)]) -> Option<u32> {
    let snapshot = world([pod(1, "")], rules);
    number(&cluster_for(&snapshot, namespace, "", pairs, &ClusterKey::new(WEB, 80)))
}

#[test]
fn the_clients_namespace_counts_before_the_services_and_that_before_the_roots() {
    let all = || {
        vec![
            rule("c/own", WEB, numbered(1)),
            rule("n/services", WEB, numbered(2)),
            rule("heddle-system/ours", WEB, numbered(3)),
            rule("istio-system/theirs", WEB, numbered(4)),
            rule("elsewhere/ignored", WEB, numbered(9)),
        ]
    };
    for (without, wanted) in [(0, Some(1)), (1, Some(2)), (2, Some(3)), (3, Some(4)), (4, None)] {
        assert_eq!(met(all().split_off(without), "c", &[]), wanted, "without the first {without}");
    }
}

#[test]
fn a_less_specific_rule_of_a_nearer_namespace_hides_the_exact_one_of_a_farther() {
    let rules = vec![rule("c/wide", "*.svc.cluster.local", numbered(1)), rule("n/exact", WEB, numbered(2))];
    assert_eq!(met(rules, "c", &[]), Some(1));
    let rules = ["*", "*.local", "*.svc.cluster.local", "*.n.svc.cluster.local"];
    let rules = rules.iter().zip(1..).map(|(host, at)| rule(&format!("n/r{at}"), host, numbered(at)));
    assert_eq!(met(rules.clone().collect(), "c", &[]), Some(4));
    assert_eq!(met(rules.take(2).collect(), "c", &[]), Some(2));
    assert_eq!(met(vec![rule("n/other", "*.m.svc.cluster.local", numbered(1))], "c", &[]), None);
}

#[test]
fn a_rule_counts_where_it_is_exported_to() {
    let shown =
        |names: &[&str]| vec![DestinationRule { export_to: to(names), ..rule("n/r", WEB, numbered(1)) }];
    assert_eq!(met(shown(&["n"]), "c", &[]), None, "private");
    assert_eq!(met(shown(&["n"]), "n", &[]), Some(1), "private, to its own");
    assert_eq!(met(shown(&["n", "c"]), "c", &[]), Some(1));
    assert_eq!(met(shown(&["n", "d"]), "c", &[]), None);
    assert_eq!(met(shown(&[]), "n", &[]), None, "exported nowhere");
    let private_root =
        DestinationRule { export_to: to(&["istio-system"]), ..rule("istio-system/r", WEB, numbered(1)) };
    assert_eq!(met(vec![private_root.clone()], "istio-system", &[]), Some(1));
    assert_eq!(met(vec![private_root], "c", &[]), None);
}

#[test]
fn a_root_namespaces_client_meets_the_services_rule_before_the_catch_all_beside_it() {
    let rules = vec![rule("istio-system/all", "*", numbered(1)), rule("n/services", WEB, numbered(2))];
    assert_eq!(met(rules, "istio-system", &[]), Some(2));
}

#[test]
fn a_rule_with_a_selector_counts_for_those_clients_of_its_namespace() {
    let selecting = |place: &str, app: &str, number| DestinationRule {
        workload_selector: Some(labels(&[("app", app)])),
        ..rule(place, WEB, numbered(number))
    };
    let rules = || vec![selecting("c/a", "a", 1), selecting("c/b", "b", 2), rule("c/all", WEB, numbered(3))];
    for (app, wanted) in [("a", 1), ("b", 2), ("z", 3)] {
        assert_eq!(met(rules(), "c", &[("app", app)]), Some(wanted), "{app}");
    }
    assert_eq!(met(vec![selecting("n/a", "a", 1)], "c", &[("app", "a")]), None, "of another namespace");
}

#[test]
fn rules_of_one_host_give_their_subsets_together_and_the_oldest_its_policy() {
    let with = |place: &str, created, policy, names: &[&str]| DestinationRule {
        created,
        subsets: names.iter().map(|name| subset(name, &[("version", name)], Default::default())).collect(),
        ..rule(place, WEB, policy)
    };
    let rules = vec![
        with("n/z-old", 1, Default::default(), &["v1"]),
        with("n/b", 2, numbered(2), &["v2", "v1"]),
        with("n/a", 3, numbered(3), &["v3"]),
    ];
    let mut store = Store::default();
    store.put_service(service("n", WEB, Some("10.96.0.1")));
    store.put_workload(pod(1, "version=v1"));
    store.put_workload(pod(3, "version=v3"));
    rules.into_iter().for_each(|rule| store.put_traffic(TrafficObject::DestinationRule(rule)));
    let snapshot = store.publish();
    let cluster = web(&snapshot);
    assert_eq!(number(&cluster), Some(2), "the first that has one");
    let from: Vec<&str> = cluster.rules.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(from, ["z-old", "b", "a"]);
    for (name, wanted) in [("v1", vec!["web-1"]), ("v2", vec![]), ("v3", vec!["web-3"])] {
        let cluster = cluster_for(&snapshot, "c", "", &[], &ClusterKey::subset(WEB, 80, name));
        assert!(cluster.is_known());
        assert_eq!(names(&cluster), wanted, "{name}");
    }
    let problems: Vec<String> = snapshot
        .destinations()
        .problems()
        .iter()
        .map(|it| format!("{}: {}", it.source, it.message))
        .collect();
    assert_eq!(
        problems,
        [
            format!(
                "DestinationRule n/b: subset v1 of {WEB} is already defined by DestinationRule n/z-old: ignored"
            ),
            format!(
                "DestinationRule n/a: trafficPolicy of {WEB} is already defined by DestinationRule n/z-old: ignored"
            ),
        ]
    );
}

#[test]
fn settings_of_a_port_replace_all_and_those_of_a_subset_field_by_field() {
    let outliers = |limit| OutlierDetection { consecutive_5xx: Some(limit), ..OutlierDetection::default() };
    let base = TrafficPolicy { outlier_detection: Some(outliers(1)), ..numbered(1) };
    let mut written = rule("n/r", WEB, base);
    written.ports.insert(81, numbered(81));
    let v1 = TrafficPolicy { outlier_detection: Some(outliers(2)), ..TrafficPolicy::default() };
    written.subsets = vec![subset("v1", &[], v1), subset("v2", &[], Default::default())];
    written.subsets[1]
        .ports
        .insert(80, TrafficPolicy { outlier_detection: Some(outliers(3)), ..Default::default() });
    let snapshot = world([pod(1, "")], vec![written]);
    let rows = [
        (80, None, Some(1), Some(1)),
        (81, None, Some(81), None),
        (80, Some("v1"), Some(1), Some(2)),
        (81, Some("v1"), Some(81), Some(2)),
        (80, Some("v2"), None, Some(3)),
        (81, Some("v2"), Some(81), None),
    ];
    for (port, name, connections, errors) in rows {
        let key = ClusterKey { subset: name.map(Into::into), ..ClusterKey::new(WEB, port) };
        let cluster = cluster_for(&snapshot, "c", "", &[], &key);
        assert_eq!(number(&cluster), connections, "{key}");
        let found = cluster.policy.outlier_detection.as_ref().and_then(|outliers| outliers.consecutive_5xx);
        assert_eq!(found, errors, "{key}");
    }
}

#[test]
fn what_was_removed_counts_no_more() {
    let mut store = Store::default();
    store.put_service(service("n", WEB, Some("10.96.0.1")));
    store.put_traffic(TrafficObject::DestinationRule(rule("n/r", WEB, numbered(1))));
    let before = store.publish();
    assert_eq!(number(&web(&before)), Some(1));
    assert!(web(&before).is_current(&store.publish()));
    store.remove_traffic("DestinationRule/n/r");
    let after = store.publish();
    assert_eq!(number(&web(&after)), None);
    assert!(!web(&before).is_current(&after));
}

/// The rule that counts, found the slow way: one place after the other, its longest host that fits, if the client sees it.
fn reference<'a>(rules: &'a [DestinationRule], namespace: &str) -> Option<&'a DestinationRule> {
    let roots = ["heddle-system", "istio-system"];
    let fits = |rule: &DestinationRule| match rule.host.strip_prefix('*') {
        Some(suffix) => WEB.ends_with(suffix),
        None => rule.host == WEB,
    };
    let private = |rule: &DestinationRule| rule.export_to == to(&[&rule.source.namespace]);
    let longest = |place: &str, counts: &dyn Fn(&DestinationRule) -> bool| {
        let there = |rule: &&DestinationRule| rule.source.namespace == place && fits(rule) && counts(rule);
        rules.iter().filter(there).max_by_key(|rule| (!rule.host.starts_with('*'), rule.host.len()))
    };
    let own = longest(namespace, &|rule| {
        if roots.contains(&namespace) { private(rule) } else { rule.export_to.reaches(namespace) }
    });
    let shown = |place: &&str| longest(place, &|rule| !private(rule));
    let others = ["n", roots[0], roots[1]];
    own.or_else(|| others.iter().filter_map(shown).find(|rule| rule.export_to.reaches(namespace)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rule_that_counts_is_the_one_that_is_found_the_slow_way(
        picks in prop::collection::btree_map((0..5_usize, 0..5_usize), 0..5_u8, 0..16), client in 0..5_usize,
    ) {
        let places = ["c", "n", "heddle-system", "istio-system", "x"];
        let hosts = [WEB, "*.n.svc.cluster.local", "*.svc.cluster.local", "*.local", "*"];
        let make = |(at, ((place, host), export)): (usize, ((usize, usize), u8))| {
            let own = places[place];
            let export_to = match export {
                0 => to(&[]),
                1 => to(&[own]),
                2 => to(&["c"]),
                3 => to(&[own, "n", "istio-system"]),
                _ => Default::default(),
            };
            let policy = numbered(u32::try_from(at).unwrap() + 1);
            DestinationRule { export_to, ..rule(&format!("{own}/r{at}"), hosts[host], policy) }
        };
        let rules: Vec<DestinationRule> = picks.into_iter().enumerate().map(make).collect();
        let wanted = reference(&rules, places[client]);
        let wanted = wanted.and_then(|rule| rule.policy.connection_pool.as_ref()?.max_connections);
        prop_assert_eq!(met(rules, places[client], &[]), wanted);
    }
}
