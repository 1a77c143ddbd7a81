//! Random policies, flows and requests: the same cases in every run.
#![allow(unreachable_pub)]

use heddle_core::identity::Identity;
use heddle_core::mtls::MtlsMode;
use heddle_core::names::PolicyName;
use heddle_core::policy::{Action, Cidr, Clause, Match, Policy, RequestMatch, Rule, StringMatch};

use crate::model::Asked;

/// Xorshift.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
    pub fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()].clone()
    }
    pub fn some<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Box<[T]> {
        let count = if self.chance(3) { self.below(3) } else { 0 };
        (0..count).map(|_| make(self)).collect()
    }
}

pub const TRUST_DOMAINS: [&str; 3] = ["cluster.local", "cluster.local", "other.example"];
pub const NAMES: [&str; 3] = ["a", "ab", "b"];
pub const ADDRESSES: [&str; 5] = ["10.0.0.1", "10.0.1.1", "::ffff:10.0.0.1", "fd00::1", "fd00:1::1"];
pub const NETWORKS: [&str; 6] =
    ["10.0.0.0/24", "0.0.0.0/0", "::ffff:10.0.0.0/120", "fd00::/16", "::/0", "10.0.1.1"];
pub const PORTS: [u16; 3] = [80, 443, 9000];

pub fn text(dice: &mut Dice) -> StringMatch {
    let word = dice.pick(&["a", "ab", "b", "", "cluster.local/ns/a/sa/ab"]).to_owned();
    match dice.below(4) {
        0 => StringMatch::Exact(word),
        1 => StringMatch::Prefix(word),
        2 => StringMatch::Suffix(word),
        _ => StringMatch::Presence,
    }
}

/// Now and then one or two matches made of these words.
fn few(dice: &mut Dice, words: &[&str]) -> Box<[StringMatch]> {
    if !dice.chance(4) {
        return Box::default();
    }
    dice.some(|dice| {
        let word = dice.pick(words).to_owned();
        match dice.below(4) {
            _ if word.contains('{') => StringMatch::Template(word),
            0 => StringMatch::Prefix(word),
            1 => StringMatch::Suffix(word),
            2 => StringMatch::Presence,
            _ => StringMatch::Exact(word),
        }
    })
}

pub fn asked(dice: &mut Dice) -> Asked {
    Asked {
        method: dice.pick(&["GET", "POST", "get", ""]),
        path: dice.pick(&["/", "/a", "/a/b", "/a/b/c", "/ab", "/a/"]),
        host: dice.pick(&["web", "WEB", "web:80", "web.shop", "web.shop.:80", "", "other"]),
    }
}

const METHODS: &[&str] = &["GET", "POST", "G"];
const PATHS: &[&str] = &["/", "/a", "/a/", "/b", "/a/{*}", "/a/{**}", "/{*}/b", "/{**}/c"];
const HOSTS: &[&str] = &["web", "Web", "web.shop", "web:80", "shop", ".shop"];

pub fn fields(dice: &mut Dice) -> Match {
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
        request: RequestMatch {
            methods: few(dice, METHODS),
            not_methods: few(dice, METHODS),
            paths: few(dice, PATHS),
            not_paths: few(dice, PATHS),
            hosts: few(dice, HOSTS),
            not_hosts: few(dice, HOSTS),
        },
    }
}

pub fn policy(dice: &mut Dice, name: &PolicyName) -> Policy {
    let clause = |dice: &mut Dice| Clause { matches: (0..dice.below(3)).map(|_| fields(dice)).collect() };
    let rule = |dice: &mut Dice| Rule { clauses: (0..dice.below(3)).map(|_| clause(dice)).collect() };
    let rules = (0..dice.below(3)).map(|_| rule(dice)).collect();
    let action = if dice.chance(2) { Action::Allow } else { Action::Deny };
    Policy::new(name.clone(), action, rules)
}

pub fn identity(dice: &mut Dice) -> Identity {
    Identity::new(dice.pick(&TRUST_DOMAINS), dice.pick(&NAMES), dice.pick(&NAMES)).unwrap()
}

pub fn mode(dice: &mut Dice) -> MtlsMode {
    dice.pick(&[MtlsMode::Disable, MtlsMode::Permissive, MtlsMode::Strict])
}
