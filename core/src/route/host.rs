//! One host as the clients of a namespace see it.

use std::sync::Arc;

use super::connection::{ConnectionRule, Dialled};
use super::decision::Decision;
use super::object::CompiledObject;
use super::request::{Client, RequestHead};
use super::rule::{CompiledRule, Family};
use super::table::RuleTable;
use crate::workload::Service;

/// The rules of one host.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    pub(super) name: Arc<str>,
    pub(super) service: Option<Arc<Service>>,
    /// Ports that it has; `None`: nobody registered it, and rules speak for any.
    pub(super) ports: Option<Box<[u16]>>,
    pub(super) tables: Tables,
    /// VirtualServices with `tls` or `tcp`, the oldest first.
    pub(super) connections: Box<[Arc<CompiledObject>]>,
}

/// HTTP rules by port.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    /// Ports that routes name in `parentRef.port`.
    pub(super) by_port: Box<[(u16, Option<Arc<RuleTable>>)]>,
    /// All others.
    pub(super) others: Option<Arc<RuleTable>>,
}

impl VirtualHost {
    /// The host that it speaks for, fully qualified; `*.suffix` where a wildcard matched what nobody registered.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The service of that name.
    pub fn service(&self) -> Option<&Arc<Service>> {
        self.service.as_ref()
    }

    /// Whether the registry has it, as a service or as an entry.
    pub fn is_registered(&self) -> bool {
        self.ports.is_some()
    }

    /// Ports that it is registered with.
    pub fn ports(&self) -> &[u16] {
        self.ports.as_deref().unwrap_or_default()
    }

    /// Whether requests to a port are its business.
    pub(super) fn takes(&self, port: u16) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.is_empty() || ports.contains(&port))
    }

    fn table(&self, port: u16) -> Option<&Arc<RuleTable>> {
        match self.tables.by_port.iter().find(|(own, _)| *own == port) {
            Some((_, table)) => table.as_ref(),
            None => self.tables.others.as_ref(),
        }
    }

    /// Whether any HTTP rule stands for a port, whoever asks.
    pub fn has_rules(&self, port: u16) -> bool {
        self.table(port).is_some()
    }

    /// Whether routes of the Gateway API speak for a port: for the Service's address, then, and not for its name. A headless
    /// one has none: there the name must do.
    pub(super) fn by_address(&self, port: u16) -> bool {
        let gateway = self.entries(port).first().is_some_and(|entry| entry.rule.family == Family::Gateway);
        gateway && self.service.as_ref().is_some_and(|service| !service.addresses.is_empty())
    }

    pub(super) fn has_tls_rules(&self) -> bool {
        self.connections.iter().any(|object| !object.tls.is_empty())
    }

    pub(super) fn concerns(&self, client: &Client<'_>, port: u16) -> bool {
        self.table(port).is_some_and(|table| table.concerns(client, port))
    }

    /// The rules of a port in the order in which they are asked.
    pub fn rules(&self, port: u16) -> impl Iterator<Item = &Arc<CompiledRule>> {
        self.table(port).into_iter().flat_map(|table| table.rules())
    }

    pub(super) fn entries(&self, port: u16) -> &[super::order::Entry] {
        self.table(port).map_or(&[], |table| table.entries())
    }

    /// The first rule that matches.
    pub fn decide(&self, client: &Client<'_>, head: &RequestHead<'_>) -> Decision<'_> {
        self.table(head.port).map_or(Decision::Default, |table| table.decide(client, head))
    }

    /// The first `tls` rule that matches, else the first `tcp` rule.
    pub(super) fn connection(
        &self,
        client: &Client<'_>,
        dialled: &Dialled<'_>,
    ) -> Option<&Arc<ConnectionRule>> {
        let tls = self.connections.iter().flat_map(|object| &object.tls).filter(|_| dialled.sni.is_some());
        let tcp = self.connections.iter().flat_map(|object| &object.tcp);
        tls.chain(tcp).find(|rule| rule.matches(client, dialled))
    }
}
