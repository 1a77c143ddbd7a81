//! DestinationRules and ServiceEntries by the host that they speak for. Made when a snapshot is published.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::object::TrafficObject;
use crate::route::tables::Problem;
use crate::upstream::endpoint::Client;
use crate::upstream::listed::{Listed, ListedPorts};
use crate::upstream::model::ServiceEntry;
use crate::upstream::rules::{MergedRule, Rules, most_specific};

/// Everything that people have written about destinations.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    rules: Rules,
    entries: HashMap<String, Vec<Arc<TrafficObject>>>,
    listed: ListedPorts,
    problems: Vec<Problem>,
}

impl Destinations {
    /// From all objects.
    pub fn new<'a>(objects: impl Iterator<Item = &'a Arc<TrafficObject>>) -> Self {
        let (mut rules, mut listed) = (Vec::new(), Vec::new());
        let mut entries: HashMap<String, Vec<Arc<TrafficObject>>> = HashMap::new();
        for object in objects {
            match object.as_ref() {
                TrafficObject::DestinationRule(rule) => rules.push(rule),
                TrafficObject::ServiceEntry(entry) => {
                    listed.push(entry);
                    for host in &entry.hosts {
                        entries.entry(host.clone()).or_default().push(Arc::clone(object));
                    }
                }
                TrafficObject::Route(_) | TrafficObject::Policy(_) => {}
            }
        }
        let age = |object: &Arc<TrafficObject>| match object.as_ref() {
            TrafficObject::ServiceEntry(entry) => (entry.created, entry.source.clone()),
            other => (0, other.source().clone()),
        };
        entries.values_mut().for_each(|list| list.sort_by_key(age));
        let (rules, problems) = Rules::new(rules.into_iter());
        Self { rules, entries, listed: ListedPorts::new(listed), problems }
    }

    /// Subsets and policies that do not count, because an older object has them.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What a ServiceEntry says of an address that is no service's and no workload's, to clients of a namespace.
    pub fn listed(&self, namespace: &str, address: IpAddr, port: u16) -> Option<Listed<'_>> {
        self.listed.find(namespace, address, port)
    }

    pub(crate) fn rule(&self, client: &Client<'_>, service: Option<&str>, host: &str) -> Option<&MergedRule> {
        self.rules.find(client, service, host)
    }

    /// The entry of a host: of the service's namespace, where a service of that name was found, else the client's own,
    /// else the oldest that it sees.
    pub(crate) fn entry(
        &self,
        client: &Client<'_>,
        service: Option<&str>,
        host: &str,
    ) -> Option<&ServiceEntry> {
        let entries = || {
            most_specific(&self.entries, host).into_iter().flatten().filter_map(|object| {
                match object.as_ref() {
                    TrafficObject::ServiceEntry(entry) => Some(entry),
                    _ => None,
                }
            })
        };
        let of = |place: &str| entries().find(|entry| entry.source.namespace == place);
        match service {
            Some(service) => of(service),
            None => of(client.namespace)
                .or_else(|| entries().find(|entry| entry.export_to.reaches(client.namespace))),
        }
    }
}
