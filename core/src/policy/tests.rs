//! Networks and matches, one row a case.
#![allow(clippy::unwrap_used)]

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_network_contains_what_its_length_says() {
    let rows = [
        ("0.0.0.0/0", "255.255.255.255", true),
        ("0.0.0.0/0", "0.0.0.0", true),
        ("0.0.0.0/0", "::1", false),
        ("0.0.0.0/0", "::ffff:1.2.3.4", true),
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("10.1.2.3/8", "10.9.9.9", true),
        ("10.0.0.1/32", "10.0.0.1", true),
        ("10.0.0.1/32", "10.0.0.0", false),
        ("10.0.0.1", "10.0.0.1", true),
        ("10.0.0.1", "10.0.0.2", false),
        ("10.0.0.0/31", "10.0.0.1", true),
        ("10.0.0.0/31", "10.0.0.2", false),
        ("128.0.0.0/1", "127.255.255.255", false),
        ("128.0.0.0/1", "128.0.0.0", true),
        ("::/0", "ffff::", true),
        ("::/0", "10.0.0.1", false),
        ("fd00::/8", "fdff::1", true),
        ("fd00::/8", "fe00::1", false),
        ("fd00::1/128", "fd00::1", true),
        ("fd00::1/128", "fd00::2", false),
        ("fd00::1", "fd00::2", false),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "11.1.2.3", false),
        ("::ffff:0.0.0.0/96", "203.0.113.9", true),
        ("::ffff:0.0.0.0/96", "fd00::1", false),
        ("::ffff:10.0.0.1/128", "10.0.0.1", true),
        ("::ffff:10.0.0.1", "10.0.0.1", true),
        ("::ffff:10.0.0.1", "10.0.0.2", false),
    ];
    for (network, address, inside) in rows {
        assert_eq!(Cidr::parse(network).unwrap().contains(ip(address)), inside, "{address} in {network}");
    }
}

#[test]
fn texts_that_are_no_networks_are_refused() {
    let rows = [
        "",
        "/",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/08",
        "10.0.0/8",
        "::/129",
        "a/8",
        "10.0.0.0/8/8",
        " 10.0.0.0/8",
        "10.0.0.0/256",
    ];
    for text in rows {
        assert_eq!(Cidr::parse(text), None, "{text:?}");
    }
    assert_eq!(Cidr::new(ip("10.0.0.0"), 33), None);
    assert_eq!(Cidr::new(ip("::"), 129), None);
}

#[test]
fn a_network_is_shown_without_the_bits_behind_its_length() {
    let rows = [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("fd00:1::1/16", "fd00::/16"),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
        ("1.2.3.4/0", "0.0.0.0/0"),
    ];
    for (written, shown) in rows {
        assert_eq!(Cidr::parse(written).unwrap().to_string(), shown);
    }
    assert_eq!(Cidr::parse("10.1.2.3/8"), Cidr::parse("10.9.9.9/8"));
}

#[test]
fn text_matches_are_those_of_istio() {
    let exact = |text: &str| StringMatch::Exact(text.to_owned());
    let prefix = |text: &str| StringMatch::Prefix(text.to_owned());
    let suffix = |text: &str| StringMatch::Suffix(text.to_owned());
    let rows = [
        (exact("a"), "a", true),
        (exact("a"), "A", false),
        (exact("a"), "ab", false),
        (prefix("ab"), "abc", true),
        (prefix("ab"), "ab", true),
        (prefix("ab"), "a", false),
        (suffix("bc"), "abc", true),
        (suffix("bc"), "bc", true),
        (suffix("bc"), "c", false),
        (StringMatch::Presence, "a", true),
        (StringMatch::Presence, "", false),
    ];
    for (want, text, matches) in rows {
        assert_eq!(want.matches(text), matches, "{want:?} {text:?}");
    }
}

/// A policy of one match, asked about identity `cluster.local/ns/a/sa/b` (or none) from 10.0.0.1 to 10.0.0.2:80.
fn asked(fields: Match, known: bool) -> bool {
    let identity = Identity::new("cluster.local", "a", "b").unwrap();
    let clause = Clause { matches: Box::new([fields]) };
    let rule = Rule { clauses: Box::new([clause]) };
    let policy = Policy::new(PolicyName::new("a/p"), Action::Allow, Box::new([rule]));
    policy.of_connection(&Subject {
        identity: known.then_some(&identity),
        source: ip("10.0.0.1"),
        destination: ip("10.0.0.2"),
        port: 80,
    }) == (Truth::Yes, 0)
}

#[test]
fn what_asks_for_an_identity_is_not_met_by_nobody() {
    for want in [
        StringMatch::Exact(String::new()),
        StringMatch::Prefix(String::new()),
        StringMatch::Suffix(String::new()),
        StringMatch::Presence,
    ] {
        assert!(
            !asked(Match { namespaces: Box::new([want.clone()]), ..Match::default() }, false),
            "{want:?}"
        );
        assert!(
            !asked(Match { principals: Box::new([want.clone()]), ..Match::default() }, false),
            "{want:?}"
        );
        assert!(
            asked(Match { not_principals: Box::new([want.clone()]), ..Match::default() }, false),
            "{want:?}"
        );
    }
    let account = || Box::new([("a".to_owned(), "b".to_owned())]);
    assert!(asked(Match { service_accounts: account(), ..Match::default() }, true));
    assert!(!asked(Match { service_accounts: account(), ..Match::default() }, false));
    assert!(!asked(Match { not_service_accounts: account(), ..Match::default() }, true));
    assert!(asked(Match { not_service_accounts: account(), ..Match::default() }, false));
}

#[test]
fn each_field_restricts_and_its_negation_excludes() {
    let exact = |text: &str| Box::new([StringMatch::Exact(text.to_owned())]) as Box<[StringMatch]>;
    let net = |text: &str| Box::new([Cidr::parse(text).unwrap()]) as Box<[Cidr]>;
    let none = Match::default;
    let rows = [
        (none(), true),
        (Match { namespaces: exact("a"), ..none() }, true),
        (Match { namespaces: exact("b"), ..none() }, false),
        (Match { not_namespaces: exact("a"), ..none() }, false),
        (Match { not_namespaces: exact("b"), ..none() }, true),
        (Match { principals: exact("cluster.local/ns/a/sa/b"), ..none() }, true),
        (Match { principals: exact("spiffe://cluster.local/ns/a/sa/b"), ..none() }, false),
        (Match { not_principals: exact("cluster.local/ns/a/sa/b"), ..none() }, false),
        (Match { source_ips: net("10.0.0.0/24"), ..none() }, true),
        (Match { source_ips: net("10.0.1.0/24"), ..none() }, false),
        (Match { not_source_ips: net("10.0.0.1"), ..none() }, false),
        (Match { destination_ips: net("10.0.0.2"), ..none() }, true),
        (Match { destination_ips: net("10.0.0.1"), ..none() }, false),
        (Match { not_destination_ips: net("0.0.0.0/0"), ..none() }, false),
        (Match { destination_ports: Box::new([80, 81]), ..none() }, true),
        (Match { destination_ports: Box::new([81]), ..none() }, false),
        (Match { not_destination_ports: Box::new([80]), ..none() }, false),
        (Match { namespaces: exact("a"), destination_ports: Box::new([81]), ..none() }, false),
        (Match { destination_ports: Box::new([80]), not_destination_ports: Box::new([80]), ..none() }, false),
    ];
    for (fields, matches) in rows {
        assert_eq!(asked(fields.clone(), true), matches, "{fields:?}");
    }
}

#[test]
fn a_policy_without_rules_matches_nothing_and_an_empty_rule_everything() {
    let subject = Subject { identity: None, source: ip("::1"), destination: ip("::2"), port: 1 };
    let policy = |rules: Box<[Rule]>| Policy::new(PolicyName::new("a/p"), Action::Deny, rules);
    assert_eq!(policy(Box::new([])).of_connection(&subject).0, Truth::No);
    assert_eq!(policy(Box::new([Rule::default()])).of_connection(&subject).0, Truth::Yes);
    let empty_clause = Rule { clauses: Box::new([Clause::default()]) };
    assert_eq!(policy(Box::new([empty_clause])).of_connection(&subject).0, Truth::Yes);
}
