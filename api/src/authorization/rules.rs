//! Rules: from whom, to what, when.

use heddle_core::policy::{Action, Clause, Match, RequestMatch, Rule};

use super::schema::{self, Condition, Operation, Source};
use super::texts::{accounts, list, networks, paths, ports, principals};
use crate::report::{At, Notes};
use crate::strict::did_you_mean;

const KEYS: &[&str] = &[
    "request.headers[…]",
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims[…]",
    "destination.ip",
    "destination.port",
    "connection.sni",
    "experimental.envoy.filters.…",
];

/// A clause of a rule, with what is not served in it already decided.
enum Read {
    Clause(Clause),
    Never,
}

pub(super) fn read(
    written: &[schema::Rule],
    action: Action,
    namespace: &str,
    at: &At<'_>,
    notes: &mut Notes,
) -> Box<[Rule]> {
    let mut rules = Vec::with_capacity(written.len());
    for (index, rule) in written.iter().enumerate() {
        rules.extend(one(rule, action, namespace, &at.index(index), notes));
    }
    rules.into()
}

/// `None`: the rule never matches.
fn one(
    written: &schema::Rule,
    action: Action,
    namespace: &str,
    at: &At<'_>,
    notes: &mut Notes,
) -> Option<Rule> {
    let mut clauses = Vec::new();
    let mut never = false;
    if let Some(from) = &written.from {
        let at = at.field("from");
        let sources = from.iter().map(|each| each.source.as_ref());
        let clause = clause(sources, "source", action, &at, notes, |source, at, notes| {
            self::source(source, namespace, at, notes)
        });
        match clause {
            Read::Clause(clause) => clauses.push(clause),
            Read::Never => never = true,
        }
    }
    if let Some(to) = &written.to {
        let at = at.field("to");
        let operations = to.iter().map(|each| each.operation.as_ref());
        if let Read::Clause(clause) = clause(operations, "operation", action, &at, notes, operation) {
            clauses.push(clause);
        }
    }
    if let Some(when) = &written.when {
        let at = at.field("when");
        conditions(when, action, &at, notes);
        never |= action == Action::Allow && !when.is_empty();
    }
    (!never).then(|| Rule { clauses: clauses.into() })
}

/// The items of `from` or `to`; each reads as a match and whether it has a condition that is not served.
fn clause<'a, T: Default + PartialEq + 'a>(
    items: impl ExactSizeIterator<Item = Option<&'a T>>,
    field: &'static str,
    action: Action,
    at: &At<'_>,
    notes: &mut Notes,
    mut read: impl FnMut(&T, &At<'_>, &mut Notes) -> (Match, bool),
) -> Read {
    if items.len() == 0 {
        notes.error(at, format!("is empty: write at least one `- {field}: …`, or remove the field"));
    }
    let mut matches = Vec::with_capacity(items.len());
    for (index, item) in items.enumerate() {
        let at = at.index(index);
        let at = at.field(field);
        match item {
            None => notes.error(&at, format!("is required: write `- {field}: …`")),
            Some(item) if *item == T::default() => {
                notes.error(
                    &at,
                    "says nothing: name at least one condition, or remove the whole list to match everything",
                );
            }
            Some(item) => {
                let (read, unserved) = read(item, &at, notes);
                if !unserved || action == Action::Deny {
                    matches.push(read);
                }
            }
        }
    }
    if matches.is_empty() { Read::Never } else { Read::Clause(Clause { matches: matches.into() }) }
}

fn source(written: &Source, namespace: &str, at: &At<'_>, notes: &mut Notes) -> (Match, bool) {
    let unserved = [
        ("requestPrincipals", &written.request_principals),
        ("notRequestPrincipals", &written.not_request_principals),
        ("remoteIpBlocks", &written.remote_ip_blocks),
        ("notRemoteIpBlocks", &written.not_remote_ip_blocks),
        ("trustDomains", &written.trust_domains),
        ("notTrustDomains", &written.not_trust_domains),
    ];
    let mut any = false;
    for (field, values) in unserved {
        if !values.is_empty() {
            any = true;
            notes.unserved(&at.field(field), "is not served yet: in an ALLOW policy this source never matches, in any other it counts as if it held");
        }
    }
    networks(&written.remote_ip_blocks, &at.field("remoteIpBlocks"), notes);
    networks(&written.not_remote_ip_blocks, &at.field("notRemoteIpBlocks"), notes);
    let has_accounts = !written.service_accounts.is_empty() || !written.not_service_accounts.is_empty();
    let lists = [&written.principals, &written.not_principals, &written.namespaces, &written.not_namespaces];
    if has_accounts && lists.iter().any(|list| !list.is_empty()) {
        notes.error(
            &at.field("serviceAccounts"),
            "cannot stand beside namespaces or principals: write a source for each",
        );
    }
    let read = Match {
        principals: principals(&written.principals, &at.field("principals"), notes),
        not_principals: principals(&written.not_principals, &at.field("notPrincipals"), notes),
        namespaces: list(&written.namespaces, &at.field("namespaces"), notes),
        not_namespaces: list(&written.not_namespaces, &at.field("notNamespaces"), notes),
        source_ips: networks(&written.ip_blocks, &at.field("ipBlocks"), notes),
        not_source_ips: networks(&written.not_ip_blocks, &at.field("notIpBlocks"), notes),
        service_accounts: accounts(&written.service_accounts, namespace, &at.field("serviceAccounts"), notes),
        not_service_accounts: accounts(
            &written.not_service_accounts,
            namespace,
            &at.field("notServiceAccounts"),
            notes,
        ),
        ..Match::default()
    };
    (read, any)
}

fn operation(written: &Operation, at: &At<'_>, notes: &mut Notes) -> (Match, bool) {
    let request = RequestMatch {
        methods: list(&written.methods, &at.field("methods"), notes),
        not_methods: list(&written.not_methods, &at.field("notMethods"), notes),
        paths: paths(&written.paths, &at.field("paths"), notes),
        not_paths: paths(&written.not_paths, &at.field("notPaths"), notes),
        hosts: list(&written.hosts, &at.field("hosts"), notes),
        not_hosts: list(&written.not_hosts, &at.field("notHosts"), notes),
    };
    for (field, values) in [("methods", &written.methods), ("notMethods", &written.not_methods)] {
        for (index, text) in
            values.iter().enumerate().filter(|(_, text)| text.bytes().any(|byte| byte.is_ascii_lowercase()))
        {
            let message = format!(
                "methods are told apart by case: no usual one is {text:?}; write {:?}",
                text.to_ascii_uppercase()
            );
            notes.warning(&at.field(field).index(index), message);
        }
    }
    let read = Match {
        destination_ports: ports(&written.ports, &at.field("ports"), notes),
        not_destination_ports: ports(&written.not_ports, &at.field("notPorts"), notes),
        request,
        ..Match::default()
    };
    (read, false)
}

fn conditions(written: &[Condition], action: Action, at: &At<'_>, notes: &mut Notes) {
    for (index, condition) in written.iter().enumerate() {
        let at = at.index(index);
        let key = condition.key.as_deref().unwrap_or_default();
        let stem = key.split_once('[').map_or(key, |(stem, _)| stem);
        let known = KEYS.iter().any(|known| known.trim_end_matches("[…]") == stem)
            || key.starts_with("experimental.");
        if !known {
            notes.error(
                &at.field("key"),
                format!("{key:?} is no key of a condition: {}", did_you_mean(key, KEYS)),
            );
            continue;
        }
        if condition.values.is_empty() && condition.not_values.is_empty() {
            notes.error(&at, "names neither values nor notValues: write at least one");
        }
        let effect = match action {
            Action::Allow => "this rule never matches",
            Action::Deny => "it counts as if it held",
        };
        notes.unserved(&at.field("key"), format!("conditions (when) are not served yet: {effect}"));
    }
}
