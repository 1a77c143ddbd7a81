//! Authorization policies: Istio's matching, on parsed identities and on requests in their canonical form.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::names::PolicyName;
use crate::object::ObjectRef;

mod cidr;
mod request;
mod template;

pub use cidr::Cidr;
pub use request::{RequestFacts, RequestMatch};

/// What a matching policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// At least one ALLOW policy must match where there is any.
    Allow,
    /// Any match refuses.
    Deny,
}

/// One policy. Sources: istio.security.Authorization; Istio API `security/v1/authorization_policy.proto`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Where it came from.
    pub source: ObjectRef,
    /// Key.
    pub name: PolicyName,
    /// ALLOW or DENY.
    pub action: Action,
    /// OR-ed; none matches nothing.
    pub rules: Box<[Rule]>,
}

/// AND of clauses; none matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// AND-ed.
    pub clauses: Box<[Clause]>,
}

/// OR of matches; none matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Clause {
    /// OR-ed.
    pub matches: Box<[Match]>,
}

/// AND of fields, each an OR of values; an empty field says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// Source namespaces.
    pub namespaces: Box<[StringMatch]>,
    /// None of these.
    pub not_namespaces: Box<[StringMatch]>,
    /// `<trust domain>/ns/<namespace>/sa/<service account>`.
    pub principals: Box<[StringMatch]>,
    /// None of these.
    pub not_principals: Box<[StringMatch]>,
    /// (namespace, service account).
    pub service_accounts: Box<[(String, String)]>,
    /// None of these.
    pub not_service_accounts: Box<[(String, String)]>,
    /// Source networks.
    pub source_ips: Box<[Cidr]>,
    /// None of these.
    pub not_source_ips: Box<[Cidr]>,
    /// Destination networks.
    pub destination_ips: Box<[Cidr]>,
    /// None of these.
    pub not_destination_ips: Box<[Cidr]>,
    /// Destination ports.
    pub destination_ports: Box<[u16]>,
    /// None of these.
    pub not_destination_ports: Box<[u16]>,
    /// What it asks of the request; where it asks nothing it judges connections too.
    pub request: RequestMatch,
}

/// Istio's string match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StringMatch {
    /// The whole text.
    Exact(String),
    /// `abc*`.
    Prefix(String),
    /// `*abc`.
    Suffix(String),
    /// `*`: any text but the empty one.
    Presence,
    /// A path with `{*}` for one segment and `{**}` for any number of them, at the end but for a suffix.
    Template(String),
}

/// What policies are asked about.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Verified identity of the client; `None` for plaintext.
    pub identity: Option<&'a Identity>,
    /// The client's address.
    pub source: IpAddr,
    /// The destination's address.
    pub destination: IpAddr,
    /// The destination's port.
    pub port: u16,
}

/// What a connection alone says of a rule. In this order "or" is the maximum and "and" the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// It does not match, whatever is asked.
    No,
    /// The request decides.
    Depends,
    /// It matches, whatever is asked.
    Yes,
}

impl From<bool> for Truth {
    fn from(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}

impl Policy {
    /// A policy of an AuthorizationPolicy, or of what was made into one.
    pub fn new(name: PolicyName, action: Action, rules: Box<[Rule]>) -> Self {
        let source = ObjectRef::named("AuthorizationPolicy", name.as_str());
        Self { source, name, action, rules }
    }

    /// Whether it asks something of requests.
    pub fn asks_requests(&self) -> bool {
        self.rules.iter().any(Rule::asks_requests)
    }

    /// The first of the rules that match a request.
    pub fn rule_for(&self, subject: &Subject<'_>, request: &RequestFacts<'_>) -> Option<usize> {
        self.rules.iter().position(|rule| rule.truth(subject, Some(request), self.action) == Truth::Yes)
    }

    /// What the connection alone says, and the first rule that says most. An ALLOW rule that asks something of requests
    /// never says yes: it does not count on traffic that is not HTTP.
    pub fn of_connection(&self, subject: &Subject<'_>) -> (Truth, usize) {
        let mut most = (Truth::No, 0);
        for (index, rule) in self.rules.iter().enumerate() {
            let mut truth = rule.truth(subject, None, self.action);
            if self.action == Action::Allow && rule.asks_requests() {
                truth = truth.min(Truth::Depends);
            }
            if truth > most.0 {
                most = (truth, index);
            }
        }
        most
    }
}

impl Rule {
    fn asks_requests(&self) -> bool {
        self.clauses.iter().flat_map(|clause| &clause.matches).any(|each| !each.request.is_empty())
    }

    fn truth(&self, subject: &Subject<'_>, request: Option<&RequestFacts<'_>>, action: Action) -> Truth {
        let of = |clause: &Clause| clause.truth(subject, request, action);
        self.clauses.iter().map(of).min().unwrap_or(Truth::Yes)
    }
}

impl Clause {
    fn truth(&self, subject: &Subject<'_>, request: Option<&RequestFacts<'_>>, action: Action) -> Truth {
        let of = |each: &Match| each.truth(subject, request, action);
        self.matches.iter().map(of).max().unwrap_or(Truth::Yes)
    }
}

impl Match {
    fn truth(&self, subject: &Subject<'_>, request: Option<&RequestFacts<'_>>, action: Action) -> Truth {
        match request {
            _ if !self.admits(subject) => Truth::No,
            _ if self.request.is_empty() => Truth::Yes,
            None => Truth::Depends,
            Some(request) => self.request.matches(request, action).into(),
        }
    }

    fn admits(&self, subject: &Subject<'_>) -> bool {
        // Nobody matches no text, not even the empty prefix: what asks for an identity wants one.
        let namespace = |want: &StringMatch| subject.identity.is_some_and(|id| want.matches(id.namespace()));
        let principal = |want: &StringMatch| subject.identity.is_some_and(|id| want.matches(&id.principal()));
        let account = |pair: &(String, String)| {
            subject.identity.is_some_and(|id| id.namespace() == pair.0 && id.service_account() == pair.1)
        };
        holds(&self.namespaces, &self.not_namespaces, namespace)
            && holds(&self.principals, &self.not_principals, principal)
            && holds(&self.service_accounts, &self.not_service_accounts, account)
            && holds(&self.source_ips, &self.not_source_ips, |net| net.contains(subject.source))
            && holds(&self.destination_ips, &self.not_destination_ips, |net| {
                net.contains(subject.destination)
            })
            && holds(&self.destination_ports, &self.not_destination_ports, |port| *port == subject.port)
    }
}

/// One of `any` where there are some, and none of `none`.
fn holds<T>(any: &[T], none: &[T], test: impl Fn(&T) -> bool) -> bool {
    (any.is_empty() || any.iter().any(&test)) && !none.iter().any(&test)
}

impl StringMatch {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(want) => text == want,
            Self::Prefix(want) => text.starts_with(want.as_str()),
            Self::Suffix(want) => text.ends_with(want.as_str()),
            Self::Presence => !text.is_empty(),
            Self::Template(template) => template::matches(template, text, template::Reading::Strict),
        }
    }
}

impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Presence => f.write_str("*"),
            Self::Template(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests;
