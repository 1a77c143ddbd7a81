//! The model: every value of every field is asked for by itself, in words, with lists of reasons to refuse.
#![allow(unreachable_pub)]

use std::net::IpAddr;

use heddle_core::authorize::{Flow, Peer};
use heddle_core::mtls::MtlsMode;
use heddle_core::policy::{Action, Cidr, Match, Policy, RequestMatch, StringMatch};
use heddle_core::workload::LocalWorkload;

fn text(want: &StringMatch, have: Option<&str>) -> bool {
    let Some(have) = have else { return false };
    match want {
        StringMatch::Exact(text) => have == text,
        StringMatch::Prefix(text) => have.len() >= text.len() && &have[..text.len()] == text,
        StringMatch::Suffix(text) => have.len() >= text.len() && &have[have.len() - text.len()..] == text,
        StringMatch::Presence => !have.is_empty(),
        StringMatch::Template(_) => unreachable!("only paths have templates"),
    }
}

/// Segment by segment; the templates of these tests have no suffixes.
fn template(want: &[&str], have: &[&str]) -> bool {
    match (want.split_first(), have.split_first()) {
        (None, None) => true,
        (Some((&"{**}", rest)), _) => {
            (0..=have.len()).any(|from| template(rest, &have[from..])) && !have.is_empty()
        }
        (Some((&"{*}", rest)), Some((first, others))) => !first.is_empty() && template(rest, others),
        (Some((want, rest)), Some((first, others))) => want == first && template(rest, others),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn path(want: &StringMatch, have: &str) -> bool {
    let StringMatch::Template(want) = want else { return text(want, Some(have)) };
    template(&want.split('/').collect::<Vec<_>>(), &have.split('/').collect::<Vec<_>>())
}

/// As sent, and where doubt denies, also as it would be without its port.
fn host(want: &StringMatch, have: &str, doubt_denies: bool) -> bool {
    let lower = |want: &StringMatch| match want {
        StringMatch::Exact(text) => StringMatch::Exact(text.to_lowercase()),
        StringMatch::Prefix(text) => StringMatch::Prefix(text.to_lowercase()),
        StringMatch::Suffix(text) => StringMatch::Suffix(text.to_lowercase()),
        other => other.clone(),
    };
    let (want, have) = (lower(want), have.to_lowercase());
    let bare = have.split(':').next().unwrap();
    let mut forms = vec![have.as_str()];
    if doubt_denies {
        forms.extend([bare, bare.trim_end_matches('.')]);
    }
    forms.into_iter().any(|form| text(&want, Some(form)))
}

/// What is asked of a request; nothing is met where there is no request, unless by a DENY.
fn request(want: &RequestMatch, have: Option<&Asked>, action: Action) -> bool {
    let nothing = *want == RequestMatch::default();
    let Some(have) = have else { return nothing || action == Action::Deny };
    let mut refusals = 0;
    let mut field = |positive: Vec<bool>, negative: Vec<bool>| {
        let no_positive = !positive.is_empty() && !positive.contains(&true);
        refusals += usize::from(no_positive) + usize::from(negative.contains(&true));
    };
    let each = |wants: &[StringMatch], test: &dyn Fn(&StringMatch) -> bool| {
        wants.iter().map(test).collect::<Vec<_>>()
    };
    let method = |want: &StringMatch| text(want, Some(have.method));
    field(each(&want.methods, &method), each(&want.not_methods, &method));
    let path = |want: &StringMatch| path(want, have.path);
    field(each(&want.paths, &path), each(&want.not_paths, &path));
    field(
        each(&want.hosts, &|want| host(want, have.host, action == Action::Deny)),
        each(&want.not_hosts, &|want| host(want, have.host, action == Action::Allow)),
    );
    refusals == 0
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
    let ports =
        |wants: &[u16]| -> Vec<bool> { wants.iter().map(|port| *port == flow.destination.port()).collect() };
    field(texts(&want.namespaces, &namespace), texts(&want.not_namespaces, &namespace));
    field(texts(&want.principals, &principal), texts(&want.not_principals, &principal));
    field(accounts(&want.service_accounts), accounts(&want.not_service_accounts));
    field(nets(&want.source_ips, flow.source), nets(&want.not_source_ips, flow.source));
    let ip = flow.destination.ip();
    field(nets(&want.destination_ips, ip), nets(&want.not_destination_ips, ip));
    field(ports(&want.destination_ports), ports(&want.not_destination_ports));
    refusals == 0
}

fn matched(policy: &Policy, flow: &Flow, asked: Option<&Asked>) -> bool {
    let mut any_rule = false;
    for rule in &policy.rules {
        let all = || rule.clauses.iter().flat_map(|clause| &clause.matches);
        let asks = all().any(|each| each.request != RequestMatch::default());
        if asks && asked.is_none() && policy.action == Action::Allow {
            continue;
        }
        let mut every_clause = true;
        for clause in &rule.clauses {
            let both = |want: &Match| fields(want, flow) && request(&want.request, asked, policy.action);
            let hits = clause.matches.iter().filter(|want| both(want)).count();
            every_clause &= clause.matches.is_empty() || hits > 0;
        }
        any_rule |= every_clause;
    }
    any_rule
}

/// What a request asks for; `None`: the connection carries none.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub method: &'static str,
    pub path: &'static str,
    pub host: &'static str,
}

pub fn allowed(known: &[Policy], local: &LocalWorkload, flow: &Flow, asked: Option<&Asked>) -> bool {
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
    let denied = of(Action::Deny).any(|policy| matched(policy, flow, asked));
    let allowed =
        of(Action::Allow).count() == 0 || of(Action::Allow).any(|policy| matched(policy, flow, asked));
    !denied && allowed
}
