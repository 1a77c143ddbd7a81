//! All routes in force, by the host that they speak for.

use std::net::IpAddr;
use std::sync::Arc;

use super::decision::Decision;
use super::path::Normalization;
use super::request::{Client, RequestHead};
use super::rule::{CompiledRule, Forward};
use crate::object::ObjectRef;
use crate::workload::Service;

/// Every virtual host. Made when a snapshot is published.
#[derive(Clone, Debug, Default)]
pub struct RouteTables {
    normalization: Normalization,
    problems: Vec<Problem>,
}

/// What is wrong with an object; everything else of it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Of which object.
    pub source: ObjectRef,
    /// The rule, from 0, where it is one's.
    pub rule: Option<usize>,
    /// What, and what follows from it.
    pub message: String,
}

/// The rules of one host as one namespace's clients see them.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    name: Arc<str>,
    service: Option<Arc<Service>>,
}

/// A connection that is routed without looking at requests.
#[derive(Clone, Copy, Debug)]
pub struct Dialled<'a> {
    /// The service that was dialled.
    pub service: Option<&'a Service>,
    /// The address that was dialled.
    pub address: IpAddr,
    /// The port that was dialled.
    pub port: u16,
    /// The server name, where the client begins with TLS.
    pub sni: Option<&'a str>,
}

/// A `tls` or `tcp` rule that matched.
#[derive(Clone, Debug)]
pub struct ConnectionRule {
    /// The object that it stands in.
    pub source: ObjectRef,
    /// Its place in `tls` or `tcp`.
    pub index: usize,
    /// Weighted backends.
    pub forward: Forward,
}

impl RouteTables {
    /// How paths are made canonical.
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }

    /// What could not be put in force.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The host of an authority on a dialled port; where there is none, that of the service that was dialled.
    pub fn virtual_host(
        &self,
        client: &Client<'_>,
        authority: &str,
        port: u16,
        dialled: Option<&Service>,
    ) -> Option<&Arc<VirtualHost>> {
        let _ = (client, authority, port, dialled);
        None
    }

    /// Whether HTTP rules speak for a service's port, for clients of a namespace.
    pub fn has_http_rules(&self, client: &Client<'_>, service: &Service, port: u16) -> bool {
        let _ = (client, service, port);
        false
    }

    /// The rule of a connection that is not looked into further.
    pub fn connection(&self, client: &Client<'_>, dialled: &Dialled<'_>) -> Option<&Arc<ConnectionRule>> {
        let _ = (client, dialled);
        None
    }
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

    /// Whether any rule speaks for a port.
    pub fn has_rules(&self, port: u16) -> bool {
        self.rules(port).next().is_some()
    }

    /// The rules of a port in the order in which they are asked.
    pub fn rules(&self, port: u16) -> impl Iterator<Item = &Arc<CompiledRule>> {
        let _ = port;
        std::iter::empty()
    }

    /// The first rule that matches.
    pub fn decide(&self, client: &Client<'_>, head: &RequestHead<'_>) -> Decision<'_> {
        let _ = (client, head);
        Decision::Default
    }
}
