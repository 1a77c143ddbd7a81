//! Rules for connections that nobody looks into: TLS that passes through, by its server name, and opaque bytes.

use std::net::IpAddr;
use std::sync::Arc;

use super::compile::forward;
use super::model::{Backend, ConnectionMatch, RouteObject};
use super::request::Client;
use super::rule::{Family, Forward};
use super::tables::Problem;
use crate::object::ObjectRef;
use crate::policy::Cidr;

/// A connection that is routed without looking at requests.
#[derive(Clone, Copy, Debug)]
pub struct Dialled<'a> {
    /// The host that was dialled, where the address says it.
    pub host: Option<&'a str>,
    /// The address that was dialled.
    pub address: IpAddr,
    /// The port that was dialled.
    pub port: u16,
    /// The server name, where the client begins with TLS.
    pub sni: Option<&'a str>,
}

/// A `tls` or `tcp` rule.
#[derive(Clone, Debug)]
pub struct ConnectionRule {
    /// The object that it stands in.
    pub source: ObjectRef,
    /// Its place in `tls` or `tcp`.
    pub index: usize,
    /// It stands in `tls`.
    pub by_server_name: bool,
    /// Weighted backends.
    pub forward: Forward,
    matches: Box<[Condition]>,
}

#[derive(Clone, Debug)]
struct Condition {
    from: ConnectionMatch,
    /// `None`: one of those written is none, and the condition never holds.
    subnets: Option<Box<[Cidr]>>,
}

impl ConnectionRule {
    /// Whether the rule matches; `tls`: by server name.
    pub(super) fn matches(&self, client: &Client<'_>, dialled: &Dialled<'_>) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|each| each.holds(client, dialled))
    }
}

impl Condition {
    fn holds(&self, client: &Client<'_>, dialled: &Dialled<'_>) -> bool {
        let from = &self.from;
        let named = || {
            let sni = dialled.sni.unwrap_or_default();
            from.sni_hosts.is_empty() || from.sni_hosts.iter().any(|host| host_matches(host, sni))
        };
        let within = || {
            let Some(subnets) = &self.subnets else { return false };
            subnets.is_empty() || subnets.iter().any(|subnet| subnet.contains(dialled.address))
        };
        from.port.is_none_or(|port| port == dialled.port)
            && from.source_namespace.as_deref().is_none_or(|namespace| namespace == client.namespace)
            && from.source_labels.iter().all(|(key, value)| client.labels.get(key) == Some(value))
            && named()
            && within()
    }
}

/// `*.example.com` stands for everything below it, `*` for everything.
fn host_matches(host: &str, name: &str) -> bool {
    match host.strip_prefix('*') {
        Some(suffix) => {
            let start = name.len().checked_sub(suffix.len());
            start.is_some_and(|start| {
                start > 0 && name.as_bytes()[start..].eq_ignore_ascii_case(suffix.as_bytes())
            })
        }
        None => host.eq_ignore_ascii_case(name),
    }
}

pub(super) fn compile_tls(route: &RouteObject, problems: &mut Vec<Problem>) -> Box<[Arc<ConnectionRule>]> {
    let rules = route.tls.iter().map(|rule| (&rule.matches, &rule.backends));
    compile(route, rules, "tls", problems)
}

pub(super) fn compile_tcp(route: &RouteObject, problems: &mut Vec<Problem>) -> Box<[Arc<ConnectionRule>]> {
    let rules = route.tcp.iter().map(|rule| (&rule.matches, &rule.backends));
    compile(route, rules, "tcp", problems)
}

fn compile<'a>(
    route: &RouteObject,
    rules: impl Iterator<Item = (&'a Vec<ConnectionMatch>, &'a Vec<Backend>)>,
    list: &str,
    problems: &mut Vec<Problem>,
) -> Box<[Arc<ConnectionRule>]> {
    let compiled = rules.enumerate().map(|(index, (matches, backends))| {
        let mut warnings = Vec::new();
        let matches = matches.iter().map(|each| condition(each, &mut warnings)).collect();
        let forward = forward(backends, Family::Istio, &mut warnings);
        problems.extend(warnings.into_iter().map(|message| Problem {
            source: route.source.clone(),
            rule: None,
            message: format!("{list}[{index}]: {message}"),
        }));
        let by_server_name = list == "tls";
        Arc::new(ConnectionRule { source: route.source.clone(), index, by_server_name, forward, matches })
    });
    compiled.collect()
}

fn condition(from: &ConnectionMatch, warnings: &mut Vec<String>) -> Condition {
    let parse = |text: &String| {
        let subnet = Cidr::parse(text);
        if subnet.is_none() {
            warnings.push(format!("{text:?} is no network; this match matches nothing"));
        }
        subnet
    };
    let parsed: Vec<_> = from.destination_subnets.iter().map(parse).collect();
    Condition { from: from.clone(), subnets: parsed.into_iter().collect() }
}
