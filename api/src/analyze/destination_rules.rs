//! DestinationRules and ServiceEntries: hosts that nobody has, subsets that nobody is in.

use std::collections::BTreeMap;

use heddle_core::upstream::model::{DestinationRule, Protocol, Resolution, TrafficPolicy};
use serde_json::Value;

use super::virtual_services::absent;
use super::world::{Host, World, namespace};
use crate::diagnostic::{Code, Severity};
use crate::object::Object;
use crate::report::{At, Notes};
use crate::upstream;

pub(super) fn check(object: &Object, world: &World, notes: &mut Notes) {
    let read = upstream::destination_rule(object, &world.context, &|_| Some(upstream::Credential::default()));
    let Some(rule) = read.model else { return };
    let spec = At::root("spec");
    twice(&rule, world, &spec.field("host"), notes);
    secrets(object, world, notes);
    if rule.host.starts_with('*') {
        if !world.any_host_within(&rule.host) {
            let message =
                format!("no Service and no ServiceEntry is within {}: the rule has no effect", rule.host);
            notes.put(Severity::Warning, Code::UnknownRuleHost, &spec.field("host"), message);
        }
        return;
    }
    let from = namespace(object);
    let host = match world.host(&rule.host, from) {
        Ok(host) => host,
        Err(why) => {
            let written = object.value.pointer("/spec/host").and_then(Value::as_str).unwrap_or_default();
            let message =
                format!("{}; the rule has no effect", absent(written, &rule.host, why, from, world));
            notes.put(Severity::Warning, Code::UnknownRuleHost, &spec.field("host"), message);
            return;
        }
    };
    let policy = spec.field("trafficPolicy");
    ports(&rule.ports, host, &policy.field("portLevelSettings"), notes);
    let subsets = spec.field("subsets");
    for (index, subset) in rule.subsets.iter().enumerate() {
        let at = subsets.index(index);
        ports(&subset.ports, host, &at.field("trafficPolicy").field("portLevelSettings"), notes);
        let Some(selector) = host.selector.as_ref().filter(|_| !subset.labels.is_empty()) else { continue };
        let mut wanted = selector.clone();
        // Pods have these from their nodes.
        let own = subset.labels.iter().filter(|(key, _)| !key.starts_with("topology."));
        wanted.extend(own.map(|(key, value)| (key.clone(), value.clone())));
        let contradicts =
            subset.labels.iter().any(|(key, value)| selector.get(key).is_some_and(|other| other != value));
        if contradicts || !world.has_pods(&host.namespace, &wanted) {
            let labels: Vec<String> =
                subset.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let message = format!(
                "no pod of {} has the labels {}: requests for this subset are answered 503; label the pods, or mend the labels",
                rule.host,
                labels.join(",")
            );
            notes.put(Severity::Error, Code::EmptySubset, &at.field("labels"), message);
        }
    }
}

fn ports(written: &BTreeMap<u16, TrafficPolicy>, host: &Host, at: &At<'_>, notes: &mut Notes) {
    for number in written.keys().filter(|number| !host.ports.is_empty() && !host.ports.contains(number)) {
        let listed: Vec<String> = host.ports.iter().map(u16::to_string).collect();
        let message = format!("the host has no port {number}: write one of {}", listed.join(", "));
        notes.put(Severity::Warning, Code::NotFound, at, message);
    }
}

/// Of two rules on one host in one namespace the settings of the older count, and the subsets of both.
fn twice(rule: &DestinationRule, world: &World, at: &At<'_>, notes: &mut Notes) {
    let same = |other: &&DestinationRule| {
        other.source != rule.source
            && other.source.namespace == rule.source.namespace
            && other.workload_selector == rule.workload_selector
    };
    if let Some(other) = world.rules.get(&rule.host).into_iter().flatten().find(same) {
        let message = format!(
            "{} is about {} too: its policy and the subsets of equal names count from the older of them alone; put them into one object",
            other.source, rule.host
        );
        notes.put(Severity::Warning, Code::ConflictingRules, at, message);
    }
}

fn secrets(object: &Object, world: &World, notes: &mut Notes) {
    let mut wanted = Vec::new();
    collect(object.value.get("spec").unwrap_or(&Value::Null), &mut wanted);
    for name in wanted.into_iter().filter(|name| !world.has_secret(namespace(object), name)) {
        let spec = At::root("spec");
        let message = format!(
            "Secret {}/{name} (credentialName) is not found: connections that need it are refused",
            namespace(object)
        );
        notes.put(Severity::Error, Code::NotFound, &spec.field("trafficPolicy"), message);
    }
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found
                .extend(fields.get("credentialName").and_then(Value::as_str).filter(|name| !name.is_empty()));
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// A ServiceEntry without addresses: a port that is neither HTTP nor TLS cannot be told from others.
pub(super) fn check_entry(object: &Object, world: &World, notes: &mut Notes) {
    let Some(read) = upstream::service_entry(object, &world.context).model else { return };
    let entry = read.entry;
    let spec = At::root("spec");
    if entry.addresses.is_empty() && entry.resolution == Resolution::None {
        let ports = spec.field("ports");
        for (index, port) in entry.ports.iter().enumerate() {
            if matches!(port.protocol, Protocol::Tcp | Protocol::Unknown) {
                let at = ports.index(index);
                let message = "addresses are required for a port that is neither HTTP nor TLS: write spec.addresses, or the protocol";
                notes.put(Severity::Warning, Code::AddressesRequired, &at.field("protocol"), message);
            }
        }
    }
    if let Some(labels) = read.workload_selector.filter(|labels| !world.has_pods(namespace(object), labels)) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let message = format!(
            "no workload of the namespace has the labels {}: nothing answers for the hosts",
            labels.join(",")
        );
        notes.put(Severity::Warning, Code::NoWorkload, &spec.field("workloadSelector"), message);
    }
}
