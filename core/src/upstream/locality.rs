//! Preference by place: which endpoints come first, and how much goes where.
//!
//! As Istio's `loadbalancer.go` has it. Priorities only mean something where endpoints can be found wanting, so failover
//! needs outlier detection; shares (`distribute`) do not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::upstream::endpoint::{Client, Endpoint};
use crate::upstream::model::Locality;
use crate::workload::{Routing, Scope};

/// Region, zone, subzone.
pub(crate) type Place = [Arc<str>; 3];

/// How much of a priority's traffic goes to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalityShare {
    /// Of which priority.
    pub priority: u32,
    /// Region, zone and subzone.
    pub locality: [Arc<str>; 3],
    /// Relative to the other places of the priority.
    pub weight: u32,
}

/// What a service prefers, as a rule would say it.
pub(crate) fn preference(routing: &Routing) -> Locality {
    let failover_priority = routing.scopes.iter().map(|scope| scope.label().to_owned()).collect();
    Locality { failover_priority, ..Locality::default() }
}

/// Whether an endpoint is in all the places of the client.
pub(crate) fn shares(endpoint: &Endpoint, client: &Client<'_>, scopes: &[Scope]) -> bool {
    scopes
        .iter()
        .map(|scope| scope.label())
        .all(|key| endpoint_label(endpoint, key) == client_label(client, key))
}

/// Sets priorities, and says who gets nothing and how much goes where; no shares: places do not count.
pub(crate) fn arrange(
    endpoints: &mut Vec<Endpoint>,
    client: &Client<'_>,
    locality: &Locality,
    failover: bool,
) -> (Vec<LocalityShare>, Vec<Endpoint>) {
    if locality.disabled {
        return (Vec::new(), Vec::new());
    }
    if !locality.distribute.is_empty() {
        return distribute(endpoints, client, &locality.distribute);
    }
    if !failover {
        return (Vec::new(), Vec::new());
    }
    let by_label = !locality.failover_priority.is_empty();
    for endpoint in endpoints.iter_mut() {
        let labels = if by_label { label_priority(endpoint, client, &locality.failover_priority) } else { 0 };
        let place = || place_priority(endpoint, client, &locality.failover);
        endpoint.priority =
            if by_label && locality.failover.is_empty() { labels } else { labels * 5 + place() };
    }
    compact(endpoints);
    // Istio weighs places only where somebody wrote how to fail over.
    let weighed = by_label || !locality.failover.is_empty();
    (if weighed { sums(endpoints) } else { Vec::new() }, Vec::new())
}

/// 0: same subzone; 1: same zone; 2: same region; 3: elsewhere; 4: elsewhere, and not where the region fails over to.
fn place_priority(endpoint: &Endpoint, client: &Client<'_>, failover: &[(String, String)]) -> u32 {
    let [region, zone, subzone] = endpoint.locality.each_ref().map(|part| part.as_ref());
    if region != client.locality[0] {
        let rule = failover.iter().find(|(from, _)| from == client.locality[0]);
        return 3 + u32::from(rule.is_some_and(|(_, to)| to != region));
    }
    match (zone == client.locality[1], subzone == client.locality[2]) {
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => 2,
    }
}

/// How many of the labels, from the first that differs on, are not shared.
fn label_priority(endpoint: &Endpoint, client: &Client<'_>, labels: &[String]) -> u32 {
    let whole = u32::try_from(labels.len()).unwrap_or(u32::MAX);
    let mut apart = 0;
    for (at, label) in labels.iter().enumerate() {
        let (key, wanted) = match label.split_once('=') {
            Some((key, value)) => (key, value),
            None => (label.as_str(), client_label(client, label)),
        };
        if wanted == endpoint_label(endpoint, key) {
            continue;
        }
        if at == 0 && key == "topology.istio.io/network" {
            // Another network is worse than everything in one's own.
            apart = whole;
            continue;
        }
        return apart + whole - u32::try_from(at).unwrap_or(0);
    }
    apart
}

fn client_label<'a>(client: &Client<'a>, key: &str) -> &'a str {
    let [region, zone, subzone] = client.locality;
    topology(key, [region, zone, subzone, client.node])
        .or_else(|| client.labels.get(key).map(String::as_str))
        .unwrap_or("")
}

fn endpoint_label<'a>(endpoint: &'a Endpoint, key: &str) -> &'a str {
    let [region, zone, subzone] = endpoint.locality.each_ref().map(|part| part.as_ref());
    let node = endpoint.workload.as_ref().map_or("", |workload| workload.node.as_str());
    topology(key, [region, zone, subzone, node])
        .or_else(|| endpoint.labels().get(key).map(String::as_str))
        .unwrap_or("")
}

/// Labels that Istio gives every endpoint by its place; one that is not known may still be written.
fn topology<'a>(key: &str, values: [&'a str; 4]) -> Option<&'a str> {
    let keys = [
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "topology.istio.io/subzone",
        "kubernetes.io/hostname",
    ];
    let at = keys.iter().position(|known| *known == key)?;
    Some(values[at]).filter(|value| !value.is_empty())
}

/// Numbers the priorities that are there from 0 without gaps.
fn compact(endpoints: &mut [Endpoint]) {
    let there: BTreeSet<u32> = endpoints.iter().map(|endpoint| endpoint.priority).collect();
    let order: BTreeMap<u32, u32> = there.into_iter().zip(0..).collect();
    for endpoint in endpoints {
        endpoint.priority = order.get(&endpoint.priority).copied().unwrap_or(0);
    }
}

/// Each place weighs what its endpoints do.
fn sums(endpoints: &[Endpoint]) -> Vec<LocalityShare> {
    let mut sums: BTreeMap<(u32, &Place), u32> = BTreeMap::new();
    for endpoint in endpoints {
        let sum = sums.entry((endpoint.priority, &endpoint.locality)).or_default();
        *sum = sum.saturating_add(endpoint.weight);
    }
    sums.into_iter()
        .map(|((priority, locality), weight)| LocalityShare { priority, locality: locality.clone(), weight })
        .collect()
}

fn distribute(
    endpoints: &mut Vec<Endpoint>,
    client: &Client<'_>,
    rules: &[(String, BTreeMap<String, u32>)],
) -> (Vec<LocalityShare>, Vec<Endpoint>) {
    let mut shares = sums(endpoints);
    let Some((_, to)) = rules.iter().find(|(from, _)| matches(client.locality, from)) else {
        return (shares, Vec::new());
    };
    let mut given: BTreeSet<Place> = BTreeSet::new();
    // The more is said of a place the earlier: `region/zone/*` takes its own before `region/*` does.
    let mut targets: Vec<(&String, u32)> = to.iter().map(|(place, percent)| (place, *percent)).collect();
    targets.sort_by_key(|(place, _)| std::cmp::Reverse(place.split('/').filter(|part| *part != "*").count()));
    for (place, percent) in targets {
        let fits = |share: &LocalityShare| {
            let parts = share.locality.each_ref().map(|part| part.as_ref());
            !given.contains(&share.locality) && matches(parts, place)
        };
        let matched: Vec<usize> = (0..shares.len()).filter(|at| fits(&shares[*at])).collect();
        let total: u64 = matched.iter().map(|at| u64::from(shares[*at].weight)).sum();
        for at in matched {
            let share = &mut shares[at];
            let weight = (u64::from(share.weight) * u64::from(percent)).div_ceil(total.max(1));
            share.weight = u32::try_from(weight).unwrap_or(u32::MAX);
            given.insert(share.locality.clone());
        }
    }
    shares.retain(|share| given.contains(&share.locality) && share.weight > 0);
    let kept = |endpoint: &Endpoint| shares.iter().any(|share| share.locality == endpoint.locality);
    let (stay, leave) = std::mem::take(endpoints).into_iter().partition(kept);
    *endpoints = stay;
    (shares, leave)
}

/// `*` stands for any, and so does what is left out.
fn matches(place: [&str; 3], rule: &str) -> bool {
    let mut parts = rule.splitn(3, '/');
    let region = parts.next().unwrap_or("");
    let fits =
        |part: Option<&str>, own: &str| part.is_none_or(|part| part.is_empty() || part == "*" || part == own);
    (region == "*" || region == place[0]) && fits(parts.next(), place[1]) && fits(parts.next(), place[2])
}
