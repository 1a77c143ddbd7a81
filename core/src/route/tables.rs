//! All routes in force, by the host that they speak for.

use std::collections::HashMap;
use std::sync::Arc;

use super::connection::{ConnectionRule, Dialled};
use super::host::VirtualHost;
use super::path::Normalization;
use super::redirect::split_port;
use super::request::Client;
use crate::object::ObjectRef;
use crate::workload::Service;

/// Every virtual host. Made when a snapshot is published.
#[derive(Debug, Default)]
pub struct RouteTables {
    pub(super) normalization: Normalization,
    /// `svc.<cluster domain>`.
    pub(super) services_domain: Box<str>,
    /// By host, lower case.
    pub(super) exact: HashMap<Box<str>, HostEntry>,
    /// By what stands behind the asterisk.
    pub(super) wildcard: HashMap<Box<str>, HostEntry>,
    /// Lengths of those, the longest first.
    pub(super) suffixes: Box<[usize]>,
    /// A rule or an entry goes by the server name of TLS.
    pub(super) names_servers: bool,
    pub(super) problems: Vec<Problem>,
}

/// A host as each namespace sees it; `None`: it does not.
#[derive(Debug, Default)]
pub(super) struct HostEntry {
    pub(super) by_namespace: HashMap<Box<str>, Option<Arc<VirtualHost>>>,
    /// For every other namespace.
    pub(super) others: Option<Arc<VirtualHost>>,
}

/// What is wrong with an object; everything else of it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Of which object.
    pub source: ObjectRef,
    /// The rule, from 0, where it is one's.
    pub rule: Option<usize>,
    /// What, and what follows from it.
    pub message: String,
}

impl HostEntry {
    fn seen_from(&self, namespace: &str) -> Option<&Arc<VirtualHost>> {
        match self.by_namespace.get(namespace) {
            Some(seen) => seen.as_ref(),
            None => self.others.as_ref(),
        }
    }
}

impl RouteTables {
    /// How paths are made canonical.
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }

    /// What could not be put in force, in the order of the objects.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The hosts that clients of a namespace see, sorted by name.
    pub fn hosts(&self, namespace: &str) -> Vec<&Arc<VirtualHost>> {
        let entries = self.exact.values().chain(self.wildcard.values());
        let mut hosts: Vec<_> = entries.filter_map(|entry| entry.seen_from(namespace)).collect();
        hosts.sort_by_key(|host| Arc::clone(host.name()));
        hosts
    }

    /// The host of an authority on a dialled port; where there is none, that of the service that was dialled. Routes of the
    /// Gateway API count for connections to their Service's own address, whatever name is asked for (GEP-1324).
    pub fn virtual_host(
        &self,
        client: &Client<'_>,
        authority: &str,
        port: u16,
        dialled: Option<&Service>,
    ) -> Option<&Arc<VirtualHost>> {
        let named = self.by_authority(client.namespace, authority, port);
        let own = |named: &Arc<VirtualHost>| dialled.is_some_and(|service| *named.name == *service.hostname);
        if named.is_some_and(own) {
            return named;
        }
        let dialled = dialled.and_then(|service| self.host(client.namespace, &service.hostname));
        match named.filter(|named| !named.by_address(port)) {
            Some(named) if !dialled.is_some_and(|dialled| dialled.by_address(port)) => Some(named),
            _ => dialled,
        }
    }

    /// Whether HTTP rules may speak for a host's port, for clients of a namespace.
    pub fn has_http_rules(&self, client: &Client<'_>, host: &str, port: u16) -> bool {
        self.host(client.namespace, host).is_some_and(|host| host.concerns(client, port))
    }

    /// Whether server names have a say in where connections to a host go.
    pub fn has_tls_rules(&self, client: &Client<'_>, host: &str) -> bool {
        self.host(client.namespace, host).is_some_and(|host| host.has_tls_rules())
    }

    /// Whether they have it anywhere.
    pub fn names_servers(&self) -> bool {
        self.names_servers
    }

    /// The rule of a connection that nobody looks into: of the host that was dialled, else of the server name.
    pub fn connection(&self, client: &Client<'_>, dialled: &Dialled<'_>) -> Option<&Arc<ConnectionRule>> {
        let host = match dialled.host {
            Some(host) => self.host(client.namespace, host),
            None => self.by_authority(client.namespace, dialled.sni?, dialled.port),
        };
        host?.connection(client, dialled)
    }

    /// The host that a server name stands for, by a ServiceEntry: those of services are reached by their addresses.
    pub fn server(&self, client: &Client<'_>, name: &str, port: u16) -> Option<&Arc<VirtualHost>> {
        let host = self.by_authority(client.namespace, name, port)?;
        (host.is_registered() && host.service().is_none()).then_some(host)
    }

    fn host(&self, namespace: &str, name: &str) -> Option<&Arc<VirtualHost>> {
        let entry = match name.strip_prefix('*') {
            Some(suffix) => self.wildcard.get(suffix),
            None => self.exact.get(name),
        };
        entry?.seen_from(namespace)
    }

    fn by_authority(&self, namespace: &str, authority: &str, port: u16) -> Option<&Arc<VirtualHost>> {
        let mut name = Name::default();
        let host = split_port(authority).0;
        name.push(host.strip_suffix('.').unwrap_or(host))?;
        name.bytes[..name.length].make_ascii_lowercase();
        let named = |name: &Name| self.host(namespace, name.as_str()?).filter(|host| host.takes(port));
        let found = named(&name).or_else(|| {
            // The short names that DNS would complete: `reviews`, `reviews.default`, `reviews.default.svc`.
            let mut whole = name;
            let missing: &[&str] = match name.as_str()?.bytes().filter(|byte| *byte == b'.').count() {
                0 => &[".", namespace, ".", &self.services_domain],
                1 => &[".", &self.services_domain],
                2 if name.as_str()?.ends_with(".svc") => {
                    &[self.services_domain.strip_prefix("svc").unwrap_or_default()]
                }
                _ => return None,
            };
            missing.iter().try_for_each(|part| whole.push(part))?;
            named(&whole)
        });
        found.or_else(|| self.by_wildcard(namespace, name.as_str()?, port))
    }

    fn by_wildcard(&self, namespace: &str, name: &str, port: u16) -> Option<&Arc<VirtualHost>> {
        let suffixes = self.suffixes.iter().filter(|length| **length < name.len());
        let entries = suffixes.filter_map(|length| self.wildcard.get(name.get(name.len() - length..)?));
        entries.filter_map(|entry| entry.seen_from(namespace)).find(|host| host.takes(port))
    }
}

/// A host name without an allocation.
#[derive(Clone, Copy)]
struct Name {
    bytes: [u8; 384],
    length: usize,
}

impl Default for Name {
    fn default() -> Self {
        Self { bytes: [0; 384], length: 0 }
    }
}

impl Name {
    /// `None`: longer than any host name.
    fn push(&mut self, text: &str) -> Option<()> {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Some(())
    }

    fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes[..self.length]).ok()
    }
}
