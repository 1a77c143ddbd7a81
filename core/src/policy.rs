//! Authorization policies: Istio's matching, on parsed identities and on requests in their canonical form.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::names::PolicyName;
use crate::object::ObjectRef;

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

/// AND of fields of a request, each an OR of values; an empty field says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestMatch {
    /// Methods.
    pub methods: Box<[StringMatch]>,
    /// None of these.
    pub not_methods: Box<[StringMatch]>,
    /// Canonical paths, without the query.
    pub paths: Box<[StringMatch]>,
    /// None of these.
    pub not_paths: Box<[StringMatch]>,
    /// Authorities, compared without regard to case; a port that the policy does not name is ignored.
    pub hosts: Box<[StringMatch]>,
    /// None of these.
    pub not_hosts: Box<[StringMatch]>,
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
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    length: u8,
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

impl Policy {
    /// A policy of an AuthorizationPolicy, or of what was made into one.
    pub fn new(name: PolicyName, action: Action, rules: Box<[Rule]>) -> Self {
        let source = ObjectRef::named("AuthorizationPolicy", name.as_str());
        Self { source, name, action, rules }
    }

    /// Whether any rule matches.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.rules.iter().any(|rule| rule.clauses.iter().all(|clause| clause.matches(subject)))
    }
}

impl Clause {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|each| each.matches(subject))
    }
}

impl Match {
    fn matches(&self, subject: &Subject<'_>) -> bool {
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
        }
    }
}

impl Cidr {
    /// `None` where the length exceeds the address's. Bits behind the length are dropped; a v4-mapped network of at
    /// least 96 bits is the v4 network.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let (address, length) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), canonical @ IpAddr::V4(_)) if length >= 96 => (canonical, length - 96),
            (written, _) => (written, length),
        };
        let address = match address {
            IpAddr::V4(ip) if length <= 32 => IpAddr::V4((ip.to_bits() & mask4(length)).into()),
            IpAddr::V6(ip) if length <= 128 => IpAddr::V6((ip.to_bits() & mask6(length)).into()),
            _ => return None,
        };
        Some(Self { address, length })
    }

    /// Parses `10.0.0.0/8`; without a length, one address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            // `parse` takes "+8" and "08"; nobody means that.
            Some(text) => text.parse().ok().filter(|length: &u8| length.to_string() == text)?,
        };
        Self::new(address, length)
    }

    /// Whether the address is inside; a v4-mapped one counts as v4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => net.to_bits() == ip.to_bits() & mask4(self.length),
            (IpAddr::V6(net), IpAddr::V6(ip)) => net.to_bits() == ip.to_bits() & mask6(self.length),
            _ => false,
        }
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no network"))
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Presence => f.write_str("*"),
        }
    }
}

fn mask4(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn mask6(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
