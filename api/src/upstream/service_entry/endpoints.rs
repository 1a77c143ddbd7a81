//! Endpoints: those written in a ServiceEntry, and WorkloadEntries.

use std::collections::BTreeMap;
use std::net::IpAddr;

use heddle_core::object::Labels;
use heddle_core::upstream::model::{EntryEndpoint, EntryPort, Resolution};
use serde_json::Value;

use super::schema::WorkloadEntrySpec;
use crate::diagnostic::Problem;
use crate::names;
use crate::normalised::{Normalised, Resource};
use crate::object::Object;
use crate::report::{At, Notes};
use crate::route::hosts;

const MOST_WEIGHT: i64 = 1 << 30;

/// A WorkloadEntry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadEntry {
    /// An address, or a name to be resolved; empty where only its network's gateway is known.
    pub address: String,
    /// By the name of a ServiceEntry's port.
    pub ports: BTreeMap<String, u16>,
    /// By these ServiceEntries and Services select it.
    pub labels: Labels,
    /// Where its address is valid; empty: everywhere.
    pub network: String,
    /// `region/zone/subzone`.
    pub locality: String,
    /// Its share; 0: 1.
    pub weight: u32,
    /// Of its namespace; empty: it has no identity.
    pub service_account: String,
}

/// Reads a WorkloadEntry.
pub fn workload_entry(object: &Object) -> Normalised<WorkloadEntry> {
    read(&object.value)
}

/// Schema and rules.
pub(crate) fn check(value: &Value) -> Vec<Problem> {
    read(value).problems
}

fn read(value: &Value) -> Normalised<WorkloadEntry> {
    let mut notes = Notes::default();
    let Some(resource) = Resource::<WorkloadEntrySpec>::read(value, &mut notes) else {
        return Normalised::new(None, notes);
    };
    let at = At::root("spec");
    let address = resource.spec.address.as_deref().unwrap_or_default();
    let address_at = at.field("address");
    if address.is_empty() {
        if resource.spec.network.as_deref().unwrap_or_default().is_empty() {
            notes.error(
                &address_at,
                "is required: write the address of the workload, or a name that resolves to it",
            );
        } else {
            notes.unserved(
                &address_at,
                "is empty, so that only the network's gateway is known: it is not reached",
            );
        }
    } else if address.starts_with("unix://") {
        notes.unserved(
            &address_at,
            "is a socket in a sidecar's file system, which there is none of: it is not reached",
        );
    } else if address.parse::<IpAddr>().is_err() {
        hosts::check(address, &address_at, &mut notes);
    }
    let entry = workload(&resource.spec, &at, &mut notes);
    Normalised::new(Some(entry), notes)
}

fn workload(written: &WorkloadEntrySpec, at: &At<'_>, notes: &mut Notes) -> WorkloadEntry {
    let weight = written.weight.unwrap_or(0);
    if !(0..=MOST_WEIGHT).contains(&weight) {
        notes.error(&at.field("weight"), format!("is {weight}, expected 0 to {MOST_WEIGHT}"));
    }
    let labels_at = at.field("labels").to_string();
    let mut problems = Vec::new();
    for (key, value) in &written.labels {
        names::check_label(&labels_at, key, Some(value), &mut problems);
    }
    notes.extend(problems);
    let ports_at = at.field("ports");
    let mut ports = BTreeMap::new();
    for (name, number) in &written.ports {
        match u16::try_from(*number).ok().filter(|port| *port != 0) {
            Some(port) => drop(ports.insert(name.clone(), port)),
            None => notes.error(
                &ports_at.field(name),
                format!("port {number} does not exist: write a port from 1 to 65535"),
            ),
        }
    }
    let locality = written.locality.clone().unwrap_or_default();
    if locality.contains('*') || locality.split('/').count() > 3 {
        notes.error(&at.field("locality"), format!("{locality:?} is no place: write region/zone/subzone"));
    }
    let account = written.service_account.clone().unwrap_or_default();
    if !account.is_empty() && !names::is_dns_subdomain(&account) {
        notes.error(
            &at.field("serviceAccount"),
            format!("{account:?} is not a name: {}", names::DNS_SUBDOMAIN),
        );
    }
    WorkloadEntry {
        address: written.address.clone().unwrap_or_default(),
        ports,
        labels: written.labels.clone(),
        network: written.network.clone().unwrap_or_default(),
        locality,
        weight: u32::try_from(weight).unwrap_or(0),
        service_account: account,
    }
}

/// `endpoints` of a ServiceEntry.
pub(super) fn written(
    list: &[WorkloadEntrySpec],
    resolution: Resolution,
    ports: &[EntryPort],
    at: &At<'_>,
    notes: &mut Notes,
) -> Vec<EntryEndpoint> {
    let mut endpoints = Vec::with_capacity(list.len());
    for (index, each) in list.iter().enumerate() {
        let at = at.index(index);
        let entry = workload(each, &at, notes);
        let ports_at = at.field("ports");
        for name in entry.ports.keys().filter(|name| !ports.iter().any(|port| port.name == **name)) {
            let known: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
            notes.error(
                &ports_at.field(name),
                format!("{name:?} is no port of the entry: write one of {}", known.join(", ")),
            );
        }
        if address(&entry.address, resolution, &at.field("address"), notes) {
            let WorkloadEntry { address, ports, labels, locality, weight, .. } = entry;
            endpoints.push(EntryEndpoint { address, ports, labels, locality, weight });
        }
    }
    endpoints
}

fn address(text: &str, resolution: Resolution, at: &At<'_>, notes: &mut Notes) -> bool {
    if text.is_empty() {
        notes.error(at, "is required: write an address");
    } else if text.starts_with("unix://") {
        notes.unserved(
            at,
            "is a socket in a sidecar's file system, which there is none of: this endpoint is left out",
        );
        return false;
    } else if text.parse::<IpAddr>().is_ok() {
        return true;
    } else if resolution == Resolution::Static {
        notes.error(
            at,
            format!("{text:?} is no address: write an IP address, or `resolution: DNS` for names"),
        );
    } else if text.contains('*') {
        notes.error(at, format!("{text:?} is a wildcard: an endpoint is one name"));
    } else {
        return hosts::check(text, at, notes);
    }
    false
}
