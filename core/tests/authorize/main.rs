//! `authorize` against a slow model that is written the other way round, and a table of what people expect.
#![allow(clippy::unwrap_used)]

mod dice;
mod model;

use std::net::{IpAddr, SocketAddr};

use dice::{ADDRESSES, Dice, PORTS, asked, identity, mode, policy};
use heddle_core::authorize::{
    Denied, Flow, Peer, Verdict, authorize, authorize_opaque, authorize_outbound, authorize_request,
};
use heddle_core::identity::Identity;
use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use heddle_core::names::{PodUid, PolicyName, WorkloadUid};
use heddle_core::policy::{Action, Clause, Match, Policy, RequestFacts, RequestMatch, Rule, StringMatch};
use heddle_core::snapshot::Snapshot;
use heddle_core::store::Store;
use heddle_core::workload::LocalWorkload;

fn local(policies: Box<[PolicyName]>, mtls: MtlsPolicy) -> LocalWorkload {
    LocalWorkload {
        pod_uid: PodUid::new("uid"),
        workload_uid: WorkloadUid::new("c//Pod/a/b"),
        name: "b".into(),
        identity: Identity::new("cluster.local", "a", "b").unwrap(),
        enrolled: true,
        mtls,
        policies,
        labels: Default::default(),
        l7: Default::default(),
    }
}

#[test]
fn authorize_equals_a_slow_model_on_a_hundred_thousand_random_cases() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let names: Vec<PolicyName> = ["a/one", "a/two", "root/three"].map(PolicyName::new).to_vec();
    let mut counts = [0_u32; 5];
    for _ in 0..5_000 {
        let known: Vec<Policy> = names.iter().map(|name| policy(&mut dice, name)).collect();
        let known: Vec<Policy> = known.into_iter().filter(|_| !dice.chance(8)).collect();
        let mut store = Store::default();
        known.iter().for_each(|policy| store.put_policy(policy.clone()));
        let snapshot = store.publish();
        for _ in 0..20 {
            let applying = names.iter().filter(|_| dice.chance(2)).cloned().collect();
            let exceptions = dice.some(|dice| (dice.pick(&PORTS), mode(dice)));
            let mtls = MtlsPolicy::new(mode(&mut dice), exceptions);
            let pod = LocalWorkload { enrolled: !dice.chance(20), ..local(applying, mtls) };
            let peer = if dice.chance(3) { Peer::Plaintext } else { Peer::Verified(identity(&mut dice)) };
            let address = |dice: &mut Dice| -> IpAddr { dice.pick(&ADDRESSES).parse().unwrap() };
            let source = address(&mut dice);
            let destination = SocketAddr::new(address(&mut dice), dice.pick(&PORTS));
            let flow = Flow { peer, source, destination };
            let asked: Vec<_> = (0..4).map(|_| asked(&mut dice)).collect();
            check(&snapshot, &known, &pod, &flow, &asked, &mut counts);
        }
    }
    let [permitted, per_request, refused, requests_permitted, requests_refused] = counts;
    assert!(permitted.min(per_request).min(refused) > 5_000, "the cases are lopsided: {counts:?}");
    assert!(requests_permitted.min(requests_refused) > 2_500, "the cases are lopsided: {counts:?}");
}

fn check(
    snapshot: &Snapshot,
    known: &[Policy],
    pod: &LocalWorkload,
    flow: &Flow,
    requests: &[model::Asked],
    counts: &mut [u32; 5],
) {
    let context = || format!("{flow:?} {pod:?} {known:#?}");
    let verdict = authorize(snapshot, pod, flow);
    let opaque = authorize_opaque(snapshot, pod, flow).is_ok();
    assert_eq!(opaque, model::allowed(known, pod, flow, None), "{}", context());
    if let Ok(Verdict::Permit(permit)) = &verdict {
        assert_eq!((permit.destination(), permit.generation()), (flow.destination, snapshot.generation()));
        assert!(opaque, "{}", context());
    }
    for asked in requests {
        let request = RequestFacts { method: asked.method, path: asked.path, host: asked.host };
        let allowed = authorize_request(snapshot, pod, flow, &request).is_ok();
        assert_eq!(allowed, model::allowed(known, pod, flow, Some(asked)), "{asked:?} {}", context());
        match &verdict {
            Ok(Verdict::Permit(_)) => assert!(allowed, "permitted and refused: {asked:?} {}", context()),
            Err(denied) => assert!(!allowed, "{denied} and allowed: {asked:?} {}", context()),
            Ok(Verdict::PerRequest) => counts[if allowed { 3 } else { 4 }] += 1,
        }
    }
    match verdict {
        Ok(Verdict::Permit(_)) => counts[0] += 1,
        Ok(Verdict::PerRequest) => {
            assert!(!opaque, "what is left to requests is denied where there are none: {}", context());
            counts[1] += 1;
        }
        Err(_) => {
            assert!(!opaque, "{}", context());
            counts[2] += 1;
        }
    }
}

/// For receivers that know policies and no modes: with every mode, exception and port, for both kinds of peer.
#[test]
fn the_policy_of_a_mode_refuses_what_the_mode_refuses() {
    let modes = [MtlsMode::Disable, MtlsMode::Permissive, MtlsMode::Strict];
    let name = PolicyName::new("root/strict");
    let mut refused = 0;
    let all = (0..27).map(|number| (modes[number / 9], modes[number / 3 % 3], modes[number % 3]));
    for (default, first, second) in all {
        for exceptions in [vec![], vec![(80, first)], vec![(80, first), (443, second)]] {
            let mtls = MtlsPolicy::new(default, exceptions);
            let mut store = Store::default();
            let denial = mtls.denial(name.clone());
            let named = denial.iter().map(|policy| policy.name.clone()).collect();
            denial.into_iter().for_each(|policy| store.put_policy(policy));
            let snapshot = store.publish();
            let by_mode = local(Box::new([]), mtls.clone());
            let by_policy = local(named, MtlsPolicy::new(MtlsMode::Permissive, []));
            for port in [1, 80, 443, 9000, u16::MAX] {
                for peer in
                    [Peer::Plaintext, Peer::Verified(Identity::new("cluster.local", "a", "b").unwrap())]
                {
                    let destination = SocketAddr::new("10.0.0.2".parse().unwrap(), port);
                    let flow = Flow { peer, source: "10.0.0.1".parse().unwrap(), destination };
                    let verdict = authorize(&snapshot, &by_mode, &flow).is_ok();
                    assert_eq!(verdict, authorize(&snapshot, &by_policy, &flow).is_ok(), "{mtls:?} {flow:?}");
                    refused += u32::from(!verdict);
                }
            }
        }
    }
    assert!(refused > 50, "the cases are lopsided: {refused} refused");
}

#[test]
fn plaintext_meets_the_mode_of_its_port() {
    use MtlsMode::{Disable, Permissive, Strict};
    let snapshot = Store::default().publish();
    let rows = [
        (Strict, vec![], 80, false),
        (Permissive, vec![], 80, true),
        (Disable, vec![], 80, true),
        (Strict, vec![(80, Permissive)], 80, true),
        (Strict, vec![(80, Disable)], 80, true),
        (Strict, vec![(80, Disable)], 81, false),
        (Permissive, vec![(80, Strict)], 80, false),
        (Permissive, vec![(80, Strict)], 81, true),
        (Strict, vec![(80, Strict), (80, Disable)], 80, true),
        (Disable, vec![(1, Permissive), (80, Strict), (65535, Strict)], 80, false),
        (Disable, vec![(1, Permissive), (80, Strict), (65535, Strict)], 65535, false),
    ];
    for (default, exceptions, port, allowed) in rows {
        let pod = local(Box::new([]), MtlsPolicy::new(default, exceptions.clone()));
        let flow = Flow {
            peer: Peer::Plaintext,
            source: "10.0.0.1".parse().unwrap(),
            destination: SocketAddr::new("10.0.0.2".parse().unwrap(), port),
        };
        let verdict = authorize(&snapshot, &pod, &flow);
        assert_eq!(verdict.is_ok(), allowed, "{default:?} {exceptions:?} {port}");
        assert!(allowed || matches!(verdict, Err(Denied::MtlsRequired)));
        let known = Flow { peer: Peer::Verified(pod.identity.clone()), ..flow };
        assert!(authorize(&snapshot, &pod, &known).is_ok(), "a verified peer is taken in every mode");
    }
}

#[test]
fn each_refusal_says_why() {
    let mut store = Store::default();
    let name = |text: &str| PolicyName::new(text);
    let everything = || Box::new([Rule::default()]) as Box<[Rule]>;
    store.put_policy(Policy::new(name("a/deny"), Action::Deny, everything()));
    store.put_policy(Policy::new(name("a/allow"), Action::Allow, everything()));
    store.put_policy(Policy::new(name("a/none"), Action::Allow, Box::new([])));
    let snapshot = store.publish();
    let flow = Flow {
        peer: Peer::Verified(Identity::new("cluster.local", "a", "c").unwrap()),
        source: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
    };
    let rows: [(&[&str], Option<Denied>); 7] = [
        (&[], None),
        (&["a/allow"], None),
        (&["a/none"], Some(Denied::NoAllowMatched)),
        (&["a/none", "a/allow"], None),
        (&["a/allow", "a/deny"], Some(Denied::DeniedBy(name("a/deny"), 0))),
        (&["a/gone"], Some(Denied::PolicyMissing(name("a/gone")))),
        (&["a/allow", "a/gone"], Some(Denied::PolicyMissing(name("a/gone")))),
    ];
    for (policies, wanted) in rows {
        let pod =
            local(policies.iter().map(|text| name(text)).collect(), MtlsPolicy::new(MtlsMode::Strict, []));
        assert_eq!(authorize(&snapshot, &pod, &flow).err(), wanted, "{policies:?}");
    }
    let pod = local(Box::new([]), MtlsPolicy::new(MtlsMode::Permissive, []));
    let stranger = Flow { peer: Peer::Verified(Identity::new("other", "a", "c").unwrap()), ..flow };
    assert_eq!(authorize(&snapshot, &pod, &stranger).err(), Some(Denied::TrustDomain));
    let left = LocalWorkload { enrolled: false, ..pod };
    assert_eq!(authorize(&snapshot, &left, &stranger).err(), Some(Denied::NotEnrolled));
    assert_eq!(authorize_outbound(&snapshot, &left, stranger.destination).err(), Some(Denied::NotEnrolled));
}

fn rule(fields: Match) -> Rule {
    Rule { clauses: Box::new([Clause { matches: Box::new([fields]) }]) }
}

fn exact(text: &str) -> Box<[StringMatch]> {
    Box::new([StringMatch::Exact(text.into())])
}

/// Tutorial 15: ALLOW from namespace `trusted`, methods GET and POST.
#[test]
fn what_asks_for_methods_is_left_to_the_requests_and_denies_what_is_not_http() {
    let from = Clause { matches: Box::new([Match { namespaces: exact("trusted"), ..Match::default() }]) };
    let methods = ["GET", "POST"].map(|method| StringMatch::Exact(method.into())).into();
    let asks = Match { request: RequestMatch { methods, ..RequestMatch::default() }, ..Match::default() };
    let to = Clause { matches: Box::new([asks]) };
    let name = PolicyName::new("default/sidecar-auth-policy");
    let mut store = Store::default();
    let rules = Box::new([Rule { clauses: Box::new([from, to]) }]);
    store.put_policy(Policy::new(name.clone(), Action::Allow, rules));
    let snapshot = store.publish();
    let pod = local(Box::new([name]), MtlsPolicy::new(MtlsMode::Permissive, []));
    let trusted = Peer::Verified(Identity::new("cluster.local", "trusted", "c").unwrap());
    let other = Peer::Verified(Identity::new("cluster.local", "default", "c").unwrap());
    let rows = [
        (trusted.clone(), "GET", true),
        (trusted.clone(), "POST", true),
        (trusted.clone(), "PUT", false),
        (trusted, "get", false),
        (other, "GET", false),
        (Peer::Plaintext, "GET", false),
    ];
    for (peer, method, allowed) in rows {
        let destination = "10.0.0.2:80".parse().unwrap();
        let flow = Flow { peer, source: "10.0.0.1".parse().unwrap(), destination };
        assert!(matches!(authorize(&snapshot, &pod, &flow), Ok(Verdict::PerRequest)), "{flow:?}");
        assert!(authorize_opaque(&snapshot, &pod, &flow).is_err(), "{flow:?}");
        let request = RequestFacts { method, path: "/", host: "my-app" };
        let verdict = authorize_request(&snapshot, &pod, &flow, &request);
        assert_eq!(verdict.is_ok(), allowed, "{flow:?} {method}");
        if let Err(denied) = verdict {
            assert_eq!(denied.response_code_details(), "rbac_access_denied_matched_policy[none]");
        }
    }
}

#[test]
fn a_port_that_no_rule_about_requests_names_needs_none() {
    let asks = RequestMatch { paths: exact("/admin"), ..RequestMatch::default() };
    let fields = Match { destination_ports: Box::new([8080]), request: asks, ..Match::default() };
    let name = PolicyName::new("a/no-admin");
    let mut store = Store::default();
    store.put_policy(Policy::new(name.clone(), Action::Deny, Box::new([rule(fields)])));
    let snapshot = store.publish();
    let pod = local(Box::new([name]), MtlsPolicy::new(MtlsMode::Permissive, []));
    let flow = |port: u16| Flow {
        peer: Peer::Plaintext,
        source: "10.0.0.1".parse().unwrap(),
        destination: SocketAddr::new("10.0.0.2".parse().unwrap(), port),
    };
    assert!(matches!(authorize(&snapshot, &pod, &flow(3306)), Ok(Verdict::Permit(_))));
    assert!(matches!(authorize(&snapshot, &pod, &flow(8080)), Ok(Verdict::PerRequest)));
    let request = |path| RequestFacts { method: "GET", path, host: "web" };
    assert!(authorize_request(&snapshot, &pod, &flow(8080), &request("/")).is_ok());
    let denied = authorize_request(&snapshot, &pod, &flow(8080), &request("/admin")).unwrap_err();
    assert_eq!(
        denied.response_code_details(),
        "rbac_access_denied_matched_policy[ns[a]-policy[no-admin]-rule[0]]"
    );
    assert!(authorize_opaque(&snapshot, &pod, &flow(8080)).is_err());
}

#[test]
fn hosts_are_istios_and_a_port_does_not_get_around_a_deny() {
    let verdict = |action, field: &dyn Fn(&mut RequestMatch), host| {
        let mut asks = RequestMatch::default();
        field(&mut asks);
        let name = PolicyName::new("a/hosts");
        let mut store = Store::default();
        let rules = Box::new([rule(Match { request: asks, ..Match::default() })]);
        store.put_policy(Policy::new(name.clone(), action, rules));
        let pod = local(Box::new([name]), MtlsPolicy::new(MtlsMode::Permissive, []));
        let flow = Flow {
            peer: Peer::Plaintext,
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2:80".parse().unwrap(),
        };
        authorize_request(&store.publish(), &pod, &flow, &RequestFacts { method: "GET", path: "/", host })
            .is_ok()
    };
    let hosts = |asks: &mut RequestMatch| asks.hosts = exact("Secret.example");
    let not_hosts = |asks: &mut RequestMatch| asks.not_hosts = exact("Secret.example");
    // (Host, DENY hosts, ALLOW hosts, ALLOW notHosts, DENY notHosts): whether the request is allowed.
    let rows = [
        ("secret.example", [false, true, false, true]),
        ("SECRET.EXAMPLE", [false, true, false, true]),
        ("secret.example:80", [false, false, false, false]),
        ("secret.example.", [false, false, false, false]),
        ("secret.example.:443", [false, false, false, false]),
        ("other.example", [true, false, true, false]),
    ];
    for (host, wanted) in rows {
        let got = [
            verdict(Action::Deny, &hosts, host),
            verdict(Action::Allow, &hosts, host),
            verdict(Action::Allow, &not_hosts, host),
            verdict(Action::Deny, &not_hosts, host),
        ];
        assert_eq!(got, wanted, "{host}");
    }
}
