//! `authorize` against a slow model that is written the other way round, and a table of what people expect.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};

use heddle_core::authorize::{Denied, Flow, Peer, authorize, authorize_outbound};
use heddle_core::identity::Identity;
use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use heddle_core::names::{PodUid, PolicyName, WorkloadUid};
use heddle_core::policy::{Action, Cidr, Clause, Match, Policy, Rule, StringMatch};
use heddle_core::store::Store;
use heddle_core::workload::LocalWorkload;

/// Xorshift: the same cases in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
    fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()].clone()
    }
    fn some<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Box<[T]> {
        let count = if self.chance(3) { self.below(3) } else { 0 };
        (0..count).map(|_| make(self)).collect()
    }
}

const TRUST_DOMAINS: [&str; 3] = ["cluster.local", "cluster.local", "other.example"];
const NAMES: [&str; 3] = ["a", "ab", "b"];
const ADDRESSES: [&str; 5] = ["10.0.0.1", "10.0.1.1", "::ffff:10.0.0.1", "fd00::1", "fd00:1::1"];
const NETWORKS: [&str; 6] =
    ["10.0.0.0/24", "0.0.0.0/0", "::ffff:10.0.0.0/120", "fd00::/16", "::/0", "10.0.1.1"];
const PORTS: [u16; 3] = [80, 443, 9000];

fn text(dice: &mut Dice) -> StringMatch {
    let word = dice.pick(&["a", "ab", "b", "", "cluster.local/ns/a/sa/ab"]).to_owned();
    match dice.below(4) {
        0 => StringMatch::Exact(word),
        1 => StringMatch::Prefix(word),
        2 => StringMatch::Suffix(word),
        _ => StringMatch::Presence,
    }
}

fn fields(dice: &mut Dice) -> Match {
    let account = |dice: &mut Dice| (dice.pick(&NAMES).to_owned(), dice.pick(&NAMES).to_owned());
    let network = |dice: &mut Dice| Cidr::parse(dice.pick(&NETWORKS)).unwrap();
    let port = |dice: &mut Dice| dice.pick(&PORTS);
    Match {
        namespaces: dice.some(text),
        not_namespaces: dice.some(text),
        principals: dice.some(text),
        not_principals: dice.some(text),
        service_accounts: dice.some(account),
        not_service_accounts: dice.some(account),
        source_ips: dice.some(network),
        not_source_ips: dice.some(network),
        destination_ips: dice.some(network),
        not_destination_ips: dice.some(network),
        destination_ports: dice.some(port),
        not_destination_ports: dice.some(port),
        request: Default::default(),
    }
}

fn policy(dice: &mut Dice, name: &PolicyName) -> Policy {
    let clause = |dice: &mut Dice| Clause { matches: (0..dice.below(3)).map(|_| fields(dice)).collect() };
    let rule = |dice: &mut Dice| Rule { clauses: (0..dice.below(3)).map(|_| clause(dice)).collect() };
    let rules = (0..dice.below(3)).map(|_| rule(dice)).collect();
    let action = if dice.chance(2) { Action::Allow } else { Action::Deny };
    Policy::new(name.clone(), action, rules)
}

fn identity(dice: &mut Dice) -> Identity {
    Identity::new(dice.pick(&TRUST_DOMAINS), dice.pick(&NAMES), dice.pick(&NAMES)).unwrap()
}

fn mode(dice: &mut Dice) -> MtlsMode {
    dice.pick(&[MtlsMode::Disable, MtlsMode::Permissive, MtlsMode::Strict])
}

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

/// The model: every value of every field is asked for by itself, in words, with lists of reasons to refuse.
mod model {
    use super::*;

    fn text(want: &StringMatch, have: Option<&str>) -> bool {
        let Some(have) = have else { return false };
        match want {
            StringMatch::Exact(text) => have == text,
            StringMatch::Prefix(text) => have.len() >= text.len() && &have[..text.len()] == text,
            StringMatch::Suffix(text) => have.len() >= text.len() && &have[have.len() - text.len()..] == text,
            StringMatch::Presence => !have.is_empty(),
        }
    }

    /// Bit by bit.
    fn inside(network: &Cidr, address: IpAddr) -> bool {
        let shown = network.to_string();
        let (net, length) = shown.split_once('/').unwrap();
        let bits = |ip: IpAddr| -> Vec<bool> {
            let octets = match ip.to_canonical() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            octets.iter().flat_map(|octet| (0..8).map(move |bit| octet & (128 >> bit) != 0)).collect()
        };
        let (net, address) = (bits(net.parse().unwrap()), bits(address));
        let length: usize = length.parse().unwrap();
        net.len() == address.len() && net[..length] == address[..length]
    }

    fn fields(want: &Match, flow: &Flow) -> bool {
        let who = match &flow.peer {
            Peer::Verified(identity) => Some(identity),
            Peer::Plaintext => None,
        };
        let namespace = who.map(|id| id.namespace().to_owned());
        let principal = who.map(|id| id.to_string().replacen("spiffe://", "", 1));
        let account = who.map(|id| (id.namespace().to_owned(), id.service_account().to_owned()));
        let mut refusals = 0;
        let mut field = |positive: Vec<bool>, negative: Vec<bool>| {
            let no_positive = !positive.is_empty() && !positive.contains(&true);
            refusals += usize::from(no_positive) + usize::from(negative.contains(&true));
        };
        let texts = |wants: &[StringMatch], have: &Option<String>| -> Vec<bool> {
            wants.iter().map(|want| text(want, have.as_deref())).collect()
        };
        let nets =
            |wants: &[Cidr], ip: IpAddr| -> Vec<bool> { wants.iter().map(|want| inside(want, ip)).collect() };
        let accounts = |wants: &[(String, String)]| -> Vec<bool> {
            wants.iter().map(|want| Some(want) == account.as_ref()).collect()
        };
        let ports = |wants: &[u16]| -> Vec<bool> {
            wants.iter().map(|port| *port == flow.destination.port()).collect()
        };
        field(texts(&want.namespaces, &namespace), texts(&want.not_namespaces, &namespace));
        field(texts(&want.principals, &principal), texts(&want.not_principals, &principal));
        field(accounts(&want.service_accounts), accounts(&want.not_service_accounts));
        field(nets(&want.source_ips, flow.source), nets(&want.not_source_ips, flow.source));
        let ip = flow.destination.ip();
        field(nets(&want.destination_ips, ip), nets(&want.not_destination_ips, ip));
        field(ports(&want.destination_ports), ports(&want.not_destination_ports));
        refusals == 0
    }

    fn matched(policy: &Policy, flow: &Flow) -> bool {
        let mut any_rule = false;
        for rule in &policy.rules {
            let mut every_clause = true;
            for clause in &rule.clauses {
                let hits = clause.matches.iter().filter(|want| fields(want, flow)).count();
                every_clause &= clause.matches.is_empty() || hits > 0;
            }
            any_rule |= every_clause;
        }
        any_rule
    }

    pub(super) fn allowed(known: &[Policy], local: &LocalWorkload, flow: &Flow) -> bool {
        let stranger = match &flow.peer {
            Peer::Verified(identity) => identity.trust_domain() != local.identity.trust_domain(),
            Peer::Plaintext => local.mtls.mode(flow.destination.port()) == MtlsMode::Strict,
        };
        let named: Vec<Option<&Policy>> =
            local.policies.iter().map(|name| known.iter().find(|policy| policy.name == *name)).collect();
        if !local.enrolled || stranger || named.contains(&None) {
            return false;
        }
        let of = |action: Action| named.iter().flatten().filter(move |policy| policy.action == action);
        let denied = of(Action::Deny).any(|policy| matched(policy, flow));
        let allowed = of(Action::Allow).count() == 0 || of(Action::Allow).any(|policy| matched(policy, flow));
        !denied && allowed
    }
}

#[test]
fn authorize_equals_a_slow_model_on_a_hundred_thousand_random_cases() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let names: Vec<PolicyName> = ["a/one", "a/two", "root/three"].map(PolicyName::new).to_vec();
    let (mut allowed, mut refused) = (0_u32, 0_u32);
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
            let verdict = authorize(&snapshot, &pod, &flow);
            assert_eq!(
                verdict.is_ok(),
                model::allowed(&known, &pod, &flow),
                "{flow:?} {pod:?} {known:#?}: {verdict:?}"
            );
            if let Ok(permit) = verdict {
                assert_eq!((permit.destination(), permit.generation()), (destination, snapshot.generation()));
                allowed += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert!(
        allowed > 10_000 && refused > 10_000,
        "the cases are lopsided: {allowed} allowed, {refused} refused"
    );
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
        (&["a/allow", "a/deny"], Some(Denied::DeniedBy(name("a/deny")))),
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
