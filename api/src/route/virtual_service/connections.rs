//! `tcp` and `tls`: rules for connections that nobody reads.

use heddle_core::policy::Cidr;
use heddle_core::route::model::{ConnectionMatch, TcpRule, TlsRule};

use super::schema::{L4Match, TcpRoute, TlsMatch, TlsRoute};
use super::{Gateways, Scope, destinations, matches, port};
use crate::report::{At, Notes};
use crate::route::hosts;

pub(super) fn tls(
    written: &[TlsRoute],
    own: &[String],
    scope: &Scope<'_>,
    at: &At<'_>,
    notes: &mut Notes,
) -> Vec<TlsRule> {
    let mut rules = Vec::new();
    for (index, rule) in written.iter().enumerate() {
        let at = at.index(index);
        let match_at = at.field("match");
        if rule.r#match.is_empty() {
            notes.error(&match_at, "is required: write `match: [{sniHosts: […]}]`");
        }
        let mut kept = Vec::new();
        for (index, each) in rule.r#match.iter().enumerate() {
            let at = match_at.index(index);
            server_names(each, own, &at.field("sniHosts"), notes);
            let read = tls_match(each, &at, notes);
            if scope.gateways.concerns_mesh(&each.gateways) {
                kept.push(read);
            }
        }
        let backends = destinations::connections(&rule.route, scope, &at.field("route"), notes);
        if !kept.is_empty() {
            rules.push(TlsRule { matches: kept, backends });
        }
    }
    rules
}

fn tls_match(each: &TlsMatch, at: &At<'_>, notes: &mut Notes) -> ConnectionMatch {
    ConnectionMatch {
        sni_hosts: each.sni_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        destination_subnets: subnets(&each.destination_subnets, &at.field("destinationSubnets"), notes),
        port: each.port.and_then(|number| port(number, &at.field("port"), notes)),
        source_labels: matches::source_labels(&each.source_labels, &at.field("sourceLabels"), notes),
        source_namespace: matches::source_namespace(
            each.source_namespace.as_deref(),
            &at.field("sourceNamespace"),
            notes,
        ),
    }
}

fn server_names(each: &TlsMatch, own: &[String], at: &At<'_>, notes: &mut Notes) {
    if each.sni_hosts.is_empty() {
        notes.error(
            at,
            "is required: write the server names of the TLS handshake, for example [\"www.example.com\"]",
        );
    }
    for (index, name) in each.sni_hosts.iter().enumerate() {
        let at = at.index(index);
        let lower = name.to_ascii_lowercase();
        if hosts::check(name, &at, notes) && !own.iter().any(|host| hosts::is_subset(&lower, host)) {
            notes.error(&at, format!("{name:?} is none of spec.hosts: add it there, or write one of them"));
        }
    }
}

pub(super) fn tcp(written: &[TcpRoute], scope: &Scope<'_>, at: &At<'_>, notes: &mut Notes) -> Vec<TcpRule> {
    let mut rules = Vec::new();
    for (index, rule) in written.iter().enumerate() {
        let at = at.index(index);
        let match_at = at.field("match");
        let mut kept = Vec::new();
        for (index, each) in rule.r#match.iter().enumerate() {
            let read = tcp_match(each, &match_at.index(index), notes);
            if scope.gateways.concerns_mesh(&each.gateways) {
                kept.push(read);
            }
        }
        let backends = destinations::connections(&rule.route, scope, &at.field("route"), notes);
        let concerns =
            if rule.r#match.is_empty() { scope.gateways.concerns_mesh(&[]) } else { !kept.is_empty() };
        if concerns {
            rules.push(TcpRule { matches: kept, backends });
        }
    }
    rules
}

fn tcp_match(each: &L4Match, at: &At<'_>, notes: &mut Notes) -> ConnectionMatch {
    if each.source_subnet.is_some() {
        notes.unserved(
            &at.field("sourceSubnet"),
            "has no effect, in Istio neither: write sourceLabels or sourceNamespace",
        );
    }
    ConnectionMatch {
        sni_hosts: Vec::new(),
        destination_subnets: subnets(&each.destination_subnets, &at.field("destinationSubnets"), notes),
        port: each.port.and_then(|number| port(number, &at.field("port"), notes)),
        source_labels: matches::source_labels(&each.source_labels, &at.field("sourceLabels"), notes),
        source_namespace: matches::source_namespace(
            each.source_namespace.as_deref(),
            &at.field("sourceNamespace"),
            notes,
        ),
    }
}

fn subnets(written: &[String], at: &At<'_>, notes: &mut Notes) -> Vec<String> {
    for (index, text) in written.iter().enumerate().filter(|(_, text)| Cidr::parse(text).is_none()) {
        notes.error(
            &at.index(index),
            format!("{text:?} is no network: write an address, or one such as 10.0.0.0/8"),
        );
    }
    written.to_vec()
}

impl Gateways {
    /// Whether a match with these gateways of its own speaks for traffic inside the mesh.
    pub(super) fn concerns_mesh(self, own: &[String]) -> bool {
        if own.is_empty() { self.mesh } else { own.iter().any(|name| name == "mesh") }
    }
}
