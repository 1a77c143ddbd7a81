//! `istio.security.Authorization`: what cannot be judged here is refused, so that it denies.

use heddle_core::names::PolicyName;
use heddle_core::policy::{Action, Cidr, Clause, Match, Policy, RequestMatch, Rule, StringMatch};
use heddle_proto::istio::security as wire;

use super::{Change, ip, port};

pub(super) fn decode(policy: wire::Authorization) -> Result<(String, Change), String> {
    if policy.namespace.is_empty() || policy.name.is_empty() {
        return Err("it has no namespace or no name".to_owned());
    }
    let key = format!("{}/{}", policy.namespace, policy.name);
    let action = match wire::Action::try_from(policy.action) {
        Ok(wire::Action::Allow) => Action::Allow,
        Ok(wire::Action::Deny) => Action::Deny,
        Err(_unknown) => return Err(format!("action {} is not known", policy.action)),
    };
    let rules = policy.rules.into_iter().map(rule).collect::<Result<Box<[_]>, _>>()?;
    let name = PolicyName::new(key.as_str());
    // Nothing is enforced by a dry run: a DENY without rules matches nothing, and its name is known all the same.
    let core = if policy.dry_run {
        Policy::new(name, Action::Deny, Box::default())
    } else {
        Policy::new(name, action, rules)
    };
    Ok((key, Change::Policy(core)))
}

fn rule(rule: wire::Rule) -> Result<Rule, String> {
    let clause = |clause: wire::Clause| -> Result<Clause, String> {
        Ok(Clause { matches: each(clause.matches, fields)? })
    };
    Ok(Rule { clauses: each(rule.clauses, clause)? })
}

fn fields(wire: wire::Match) -> Result<Match, String> {
    if let Some(extension) = wire.extensions.first() {
        return Err(format!("condition '{}' is not known", extension.name));
    }
    Ok(Match {
        namespaces: each(wire.namespaces, string)?,
        not_namespaces: each(wire.not_namespaces, string)?,
        principals: each(wire.principals, string)?,
        not_principals: each(wire.not_principals, string)?,
        service_accounts: each(wire.service_accounts, account)?,
        not_service_accounts: each(wire.not_service_accounts, account)?,
        source_ips: each(wire.source_ips, network)?,
        not_source_ips: each(wire.not_source_ips, network)?,
        destination_ips: each(wire.destination_ips, network)?,
        not_destination_ips: each(wire.not_destination_ips, network)?,
        destination_ports: each(wire.destination_ports, port)?,
        not_destination_ports: each(wire.not_destination_ports, port)?,
        request: RequestMatch::default(),
    })
}

fn each<W, C>(wire: Vec<W>, convert: impl Fn(W) -> Result<C, String>) -> Result<Box<[C]>, String> {
    wire.into_iter().map(convert).collect()
}

fn string(wire: wire::StringMatch) -> Result<StringMatch, String> {
    use wire::string_match::MatchType;
    match wire.match_type {
        Some(MatchType::Exact(text)) => Ok(StringMatch::Exact(text)),
        Some(MatchType::Prefix(text)) => Ok(StringMatch::Prefix(text)),
        Some(MatchType::Suffix(text)) => Ok(StringMatch::Suffix(text)),
        Some(MatchType::Presence(())) => Ok(StringMatch::Presence),
        None => Err("a string match is of an unknown kind".to_owned()),
    }
}

fn account(wire: wire::ServiceAccountMatch) -> Result<(String, String), String> {
    if wire.namespace.is_empty() || wire.service_account.is_empty() {
        return Err("a service account match has no namespace or no name".to_owned());
    }
    Ok((wire.namespace, wire.service_account))
}

fn network(wire::Address { address, length }: wire::Address) -> Result<Cidr, String> {
    let address = ip(&address)?;
    let number = u8::try_from(length).ok();
    number
        .and_then(|number| Cidr::new(address, number))
        .ok_or_else(|| format!("{address}/{length} is not a network"))
}
