//! Policies on the wire: for receivers that judge connections alone, and, in full, for our own agents.

use heddle_core::object::TrafficObject;
use heddle_core::policy::{self as core, Action, Cidr, Policy};
use heddle_proto::heddle::v1 as ours;
use heddle_proto::istio::security as wire;
use heddle_proto::istio::security::string_match::MatchType;

use super::denial;
use super::input::{Key, PolicyInput};
use super::service::octets;
use super::table::Resource;

/// What every receiver gets.
///
/// As istiod converts it for a ztunnel: of an ALLOW, rules that ask anything of requests are left out and so never match;
/// those of a DENY keep what can be asked of a connection and so match more.
pub(super) fn authorization(key: &Key, input: &PolicyInput) -> wire::Authorization {
    let PolicyInput { selection, policy } = input;
    let rules = policy.rules.iter().filter(|rule| policy.action == Action::Deny || !asks(rule));
    wire::Authorization {
        name: denial::short_name(key),
        namespace: key.namespace.to_string(),
        scope: denial::scope(key, selection).into(),
        action: match policy.action {
            Action::Allow => wire::Action::Allow,
            Action::Deny => wire::Action::Deny,
        }
        .into(),
        rules: rules.map(rule).collect(),
        ..wire::Authorization::default()
    }
}

/// The whole policy, where it asks anything of requests.
pub(super) fn in_full(policy: &Policy) -> Option<(String, Resource)> {
    policy.rules.iter().any(asks).then(|| traffic(&TrafficObject::Policy(policy.clone())))
}

/// Any object about traffic, with its name.
pub(super) fn traffic(object: &TrafficObject) -> (String, Resource) {
    let wire = ours::TrafficObject { json: super::mesh::json(object) };
    (object.wire_name(), Resource::of(&wire))
}

fn asks(rule: &core::Rule) -> bool {
    let mut matches = rule.clauses.iter().flat_map(|clause| &clause.matches);
    matches.any(|each| !each.request.is_empty())
}

fn rule(rule: &core::Rule) -> wire::Rule {
    let clause =
        |clause: &core::Clause| wire::Clause { matches: clause.matches.iter().map(fields).collect() };
    wire::Rule { clauses: rule.clauses.iter().map(clause).collect() }
}

fn fields(each: &core::Match) -> wire::Match {
    wire::Match {
        namespaces: texts(&each.namespaces),
        not_namespaces: texts(&each.not_namespaces),
        principals: texts(&each.principals),
        not_principals: texts(&each.not_principals),
        service_accounts: accounts(&each.service_accounts),
        not_service_accounts: accounts(&each.not_service_accounts),
        source_ips: networks(&each.source_ips),
        not_source_ips: networks(&each.not_source_ips),
        destination_ips: networks(&each.destination_ips),
        not_destination_ips: networks(&each.not_destination_ips),
        destination_ports: each.destination_ports.iter().map(|port| u32::from(*port)).collect(),
        not_destination_ports: each.not_destination_ports.iter().map(|port| u32::from(*port)).collect(),
        ..wire::Match::default()
    }
}

fn texts(texts: &[core::StringMatch]) -> Vec<wire::StringMatch> {
    let text = |text: &core::StringMatch| match text {
        core::StringMatch::Exact(text) => MatchType::Exact(text.clone()),
        core::StringMatch::Prefix(text) => MatchType::Prefix(text.clone()),
        core::StringMatch::Suffix(text) => MatchType::Suffix(text.clone()),
        core::StringMatch::Presence => MatchType::Presence(()),
        // Of paths only, which are not on this wire.
        core::StringMatch::Template(text) => MatchType::Exact(text.clone()),
    };
    texts.iter().map(|each| wire::StringMatch { match_type: Some(text(each)) }).collect()
}

fn accounts(accounts: &[(String, String)]) -> Vec<wire::ServiceAccountMatch> {
    let account = |(namespace, service_account): &(String, String)| wire::ServiceAccountMatch {
        namespace: namespace.clone(),
        service_account: service_account.clone(),
    };
    accounts.iter().map(account).collect()
}

fn networks(networks: &[Cidr]) -> Vec<wire::Address> {
    let network =
        |cidr: &Cidr| wire::Address { address: octets(cidr.address()), length: cidr.length().into() };
    networks.iter().map(network).collect()
}
