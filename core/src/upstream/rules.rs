//! Which DestinationRule counts for whom: merged by host, found by the client's namespace, the service's, and the roots.
//!
//! As Istio's `push_context.go` (`setDestinationRules`, `destinationRule`), `destination_rule.go` and
//! `SidecarScope.DestinationRule` have it.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::object::{ExportTo, Labels, ObjectRef};
use crate::route::tables::Problem;
use crate::upstream::endpoint::Client;
use crate::upstream::model::{DestinationRule, Subset, TrafficPolicy};

/// Namespaces whose rules count for all, in the order in which they are asked.
pub(crate) const ROOTS: [&str; 2] = ["heddle-system", "istio-system"];

/// Every DestinationRule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// By namespace: what its own clients see.
    local: HashMap<String, Pool>,
    /// By namespace: what it shows to others.
    exported: HashMap<String, Pool>,
    /// By root namespace: what it keeps to itself.
    private: HashMap<String, Pool>,
}

/// Rules by host; wildcards among them.
type Pool = HashMap<String, Vec<MergedRule>>;

/// All rules of one host that count together.
#[derive(Clone, Debug)]
pub(crate) struct MergedRule {
    pub(crate) rule: Arc<DestinationRule>,
    /// Objects that it is made of; the first has the policy unless it has none.
    pub(crate) from: Vec<ObjectRef>,
    export_to: ExportTo,
}

impl Rules {
    /// From all rules, and what is wrong with them.
    pub(crate) fn new<'a>(rules: impl Iterator<Item = &'a DestinationRule>) -> (Self, Vec<Problem>) {
        let mut sorted: Vec<&DestinationRule> = rules.collect();
        sorted.sort_by(|a, b| precedence(a, b));
        let mut all = Self::default();
        let mut problems = Vec::new();
        for rule in sorted {
            all.add(rule, &mut problems);
        }
        (all, problems)
    }

    fn add(&mut self, rule: &DestinationRule, problems: &mut Vec<Problem>) {
        let own = &rule.source.namespace;
        let export_to = match &rule.workload_selector {
            None => rule.export_to.clone(),
            // What selects workloads is its own namespace's alone.
            Some(_) => ExportTo::Namespaces(BTreeSet::from([own.clone()])),
        };
        if export_to.reaches(own) {
            merge(self.local.entry(own.clone()).or_default(), rule, &export_to, problems);
        }
        let private = matches!(&export_to, ExportTo::Namespaces(to) if to.len() == 1 && to.contains(own));
        if !private {
            merge(self.exported.entry(own.clone()).or_default(), rule, &export_to, problems);
        } else if ROOTS.contains(&own.as_str()) {
            merge(self.private.entry(own.clone()).or_default(), rule, &export_to, problems);
        }
    }

    /// The rule of a host for a client.
    pub(crate) fn find(&self, client: &Client<'_>, service: Option<&str>, host: &str) -> Option<&MergedRule> {
        // A root namespace is asked for its private rules first, so that its catch-all does not hide those of services.
        let own = if ROOTS.contains(&client.namespace) { &self.private } else { &self.local };
        if let Some(rules) = own.get(client.namespace).and_then(|pool| most_specific(pool, host)) {
            return select(&rules.iter().collect::<Vec<_>>(), client);
        }
        let places = service.into_iter().chain(ROOTS);
        let exported = places.filter_map(|place| most_specific(self.exported.get(place)?, host));
        for rules in exported {
            let seen: Vec<&MergedRule> =
                rules.iter().filter(|rule| rule.export_to.reaches(client.namespace)).collect();
            if !seen.is_empty() {
                return select(&seen, client);
            }
        }
        None
    }
}

/// Of the rules of one host: the first that selects the client's workload, else the last that selects nothing.
fn select<'a>(rules: &[&'a MergedRule], client: &Client<'_>) -> Option<&'a MergedRule> {
    let selects = |labels: &Labels| labels.iter().all(|(key, value)| client.labels.get(key) == Some(value));
    let selected = rules.iter().find(|merged| {
        merged.rule.source.namespace == client.namespace
            && merged.rule.workload_selector.as_ref().is_some_and(&selects)
    });
    selected.or_else(|| rules.iter().rfind(|merged| merged.rule.workload_selector.is_none())).copied()
}

/// Rules with a selector first, then the oldest.
fn precedence(a: &DestinationRule, b: &DestinationRule) -> Ordering {
    let key = |rule: &DestinationRule| (rule.workload_selector.is_none(), rule.created);
    let names = || (&a.source.name, &a.source.namespace).cmp(&(&b.source.name, &b.source.namespace));
    key(a).cmp(&key(b)).then_with(names)
}

/// The value of the host itself, else of its longest wildcard.
pub(crate) fn most_specific<'a, V>(table: &'a HashMap<String, V>, host: &str) -> Option<&'a V> {
    if let Some(found) = table.get(host) {
        return Some(found);
    }
    let dots = host.char_indices().filter(|(_, letter)| *letter == '.').map(|(at, _)| &host[at..]);
    dots.chain([""]).find_map(|suffix| table.get(&format!("*{suffix}")))
}

fn merge(pool: &mut Pool, rule: &DestinationRule, export_to: &ExportTo, problems: &mut Vec<Problem>) {
    let fresh = || MergedRule {
        rule: Arc::new(rule.clone()),
        from: vec![rule.source.clone()],
        export_to: export_to.clone(),
    };
    let Some(merged) = pool.get_mut(&rule.host) else {
        pool.insert(rule.host.clone(), vec![fresh()]);
        return;
    };
    let mut apart = true;
    for existing in merged.iter_mut() {
        // Those that select workloads and those that do not never mix; Istio lets some, and the rest of the clients lose theirs.
        let same = *export_to == existing.export_to;
        if rule.workload_selector == existing.rule.workload_selector
            && (same || wider(export_to, &existing.export_to))
        {
            apart &= !same;
            unite(existing, rule, problems);
        }
    }
    if apart {
        merged.push(fresh());
    }
}

/// Adds the subsets, and the policy where there was none.
fn unite(existing: &mut MergedRule, rule: &DestinationRule, problems: &mut Vec<Problem>) {
    existing.from.push(rule.source.clone());
    let first = existing.from[0].clone();
    let united = Arc::make_mut(&mut existing.rule);
    for subset in &rule.subsets {
        if united.subsets.iter().any(|known| known.name == subset.name) {
            let message =
                format!("subset {} of {} is already defined by {first}: ignored", subset.name, rule.host);
            report(problems, rule, message);
        } else {
            united.subsets.push(subset.clone());
        }
    }
    let none = |rule: &DestinationRule| rule.policy == TrafficPolicy::default() && rule.ports.is_empty();
    if none(united) {
        united.policy = rule.policy.clone();
        united.ports = rule.ports.clone();
    } else if !none(rule) {
        let message = format!("trafficPolicy of {} is already defined by {first}: ignored", rule.host);
        report(problems, rule, message);
    }
}

/// Once, though a rule stands in several pools.
fn report(problems: &mut Vec<Problem>, rule: &DestinationRule, message: String) {
    let problem = Problem { source: rule.source.clone(), rule: None, message };
    if !problems.contains(&problem) {
        problems.push(problem);
    }
}

/// Both name namespaces, and the first all of the second's.
fn wider(new: &ExportTo, old: &ExportTo) -> bool {
    match (new, old) {
        (ExportTo::Namespaces(new), ExportTo::Namespaces(old)) => !old.is_empty() && new.is_superset(old),
        _ => false,
    }
}

impl MergedRule {
    /// The subset of this name.
    pub(crate) fn subset(&self, name: &str) -> Option<&Subset> {
        self.rule.subsets.iter().find(|subset| subset.name == name)
    }

    /// What counts for a port and a subset. Settings of a port replace all of what stands around them, with the defaults
    /// for what they leave out; a subset's replace field by field.
    pub(crate) fn policy(&self, port: u16, subset: Option<&Subset>) -> TrafficPolicy {
        let base = self.rule.ports.get(&port).unwrap_or(&self.rule.policy);
        let Some(subset) = subset else { return base.clone() };
        if let Some(policy) = subset.ports.get(&port) {
            return policy.clone();
        }
        let (base, own) = (base.clone(), subset.policy.clone());
        TrafficPolicy {
            load_balancer: own.load_balancer.or(base.load_balancer),
            connection_pool: own.connection_pool.or(base.connection_pool),
            outlier_detection: own.outlier_detection.or(base.outlier_detection),
            tls: own.tls.or(base.tls),
        }
    }
}
