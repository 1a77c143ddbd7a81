//! DestinationRule, made into policies of the mesh.
//!
//! Sources: Istio API `networking/v1/destination_rule.proto`; Istio `pkg/config/validation`.

use std::collections::{BTreeMap, HashSet};

use heddle_core::upstream::model::{DestinationRule, Subset, TrafficPolicy};
use serde_json::Value;

use crate::diagnostic::{Code, Problem};
use crate::names;
use crate::normalised::{Context, Normalised, Resource, export_to};
use crate::object::Object;
use crate::report::{At, Notes};
use crate::route::{hosts, qualified};

use schema::{ClientTlsSettings, ConnectionPoolSettings, DestinationRuleSpec, LoadBalancerSettings};

mod balance;
mod meant;
mod pool;
pub(crate) mod schema;
mod tls;

#[cfg(test)]
mod tests;

pub(crate) use balance::locality;

/// What a Secret that `credentialName` names holds, as PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// `ca.crt` or `cacert`.
    pub ca: Option<String>,
    /// `tls.crt` or `cert`.
    pub certificate: Option<String>,
    /// `tls.key` or `key`.
    pub private_key: Option<String>,
}

/// What the parts of a rule need to know of the whole.
struct Scope<'a> {
    credential: &'a dyn Fn(&str) -> Option<Credential>,
}

/// The four parts that a policy has for a destination and for a single port.
struct Parts<'a> {
    load_balancer: &'a Option<LoadBalancerSettings>,
    connection_pool: &'a Option<ConnectionPoolSettings>,
    outlier_detection: &'a Option<schema::OutlierDetection>,
    tls: &'a Option<ClientTlsSettings>,
}

/// Reads a rule. `credential` finds the Secrets of its namespace that it names; those that are not there break only
/// the connections that need them.
pub fn destination_rule(
    object: &Object,
    context: &Context,
    credential: &dyn Fn(&str) -> Option<Credential>,
) -> Normalised<DestinationRule> {
    read(&object.value, context, credential)
}

/// Schema and rules.
pub(crate) fn check(value: &Value) -> Vec<Problem> {
    read(value, &Context::default(), &|_| Some(Credential::default())).problems
}

fn read(
    value: &Value,
    context: &Context,
    credential: &dyn Fn(&str) -> Option<Credential>,
) -> Normalised<DestinationRule> {
    let mut notes = Notes::default();
    let mut value = value.clone();
    meant::mend(&mut value, &mut notes);
    let Some(resource) = Resource::<DestinationRuleSpec>::read(&value, &mut notes) else {
        return Normalised::new(None, notes);
    };
    let (spec, scope, at) = (&resource.spec, Scope { credential }, At::root("spec"));
    let host = spec.host.as_deref().unwrap_or_default();
    hosts::check(host, &at.field("host"), &mut notes);
    hosts::check_export_to(&spec.export_to, &at.field("exportTo"), &mut notes);
    let policy_at = at.field("trafficPolicy");
    let (policy, ports) = policies(spec.traffic_policy.as_ref(), &scope, &policy_at, &mut notes);
    let model = DestinationRule {
        source: resource.source("DestinationRule"),
        created: resource.created(),
        host: qualified(host, resource.namespace(), &context.cluster_domain),
        export_to: export_to(&spec.export_to, &context.destination_rule_export_to, resource.namespace()),
        workload_selector: selector(spec, &at, &mut notes),
        policy,
        ports,
        subsets: subsets(spec, &scope, &at.field("subsets"), &mut notes),
    };
    Normalised::new(Some(model), notes)
}

fn selector(
    spec: &DestinationRuleSpec,
    at: &At<'_>,
    notes: &mut Notes,
) -> Option<heddle_core::object::Labels> {
    let selector = spec.workload_selector.as_ref()?;
    let at = at.field("workloadSelector");
    let labels = selector.match_labels.clone().unwrap_or_default();
    if labels.is_empty() {
        notes.error(
            &at.field("matchLabels"),
            "is required: write the labels of the clients, or remove workloadSelector",
        );
    }
    let mut problems = Vec::new();
    for (key, value) in &labels {
        names::check_selector_label("spec.workloadSelector.matchLabels", key, Some(value), &mut problems);
    }
    notes.extend(problems);
    Some(labels)
}

fn subsets(spec: &DestinationRuleSpec, scope: &Scope<'_>, at: &At<'_>, notes: &mut Notes) -> Vec<Subset> {
    let mut seen = HashSet::new();
    let mut read = Vec::with_capacity(spec.subsets.len());
    for (index, written) in spec.subsets.iter().enumerate() {
        let at = at.index(index);
        let name_at = at.field("name");
        let name = written.name.clone().unwrap_or_default();
        if name.is_empty() {
            notes.error(&name_at, "is required: write the name by which routes name the subset");
        } else if !names::is_dns_label(&name) {
            notes.error(&name_at, format!("{name:?} is not a subset: {}", names::DNS_LABEL));
        } else if !seen.insert(name.clone()) {
            notes.error(&name_at, format!("another subset is named {name:?}"));
        }
        let mut problems = Vec::new();
        for (key, value) in &written.labels {
            names::check_label(&at.field("labels").to_string(), key, Some(value), &mut problems);
        }
        notes.extend(problems);
        let (policy, ports) =
            policies(written.traffic_policy.as_ref(), scope, &at.field("trafficPolicy"), notes);
        read.push(Subset { name, labels: written.labels.clone(), policy, ports });
    }
    read
}

fn policies(
    written: Option<&schema::TrafficPolicy>,
    scope: &Scope<'_>,
    at: &At<'_>,
    notes: &mut Notes,
) -> (TrafficPolicy, BTreeMap<u16, TrafficPolicy>) {
    let Some(written) = written else { return Default::default() };
    let empty = schema::TrafficPolicy::default();
    if *written == empty {
        notes.error(
            at,
            "says nothing: write at least one of loadBalancer, connectionPool, outlierDetection and tls",
        );
    }
    for (field, there, instead) in [
        ("tunnel", written.tunnel.is_some(), "connections go out as they are"),
        ("proxyProtocol", written.proxy_protocol.is_some(), "connections begin without its header"),
        (
            "retryBudget",
            written.retry_budget.is_some(),
            "the budget is the default one: connectionPool.http.maxRetries bounds retries",
        ),
    ] {
        if there {
            notes.unserved(&at.field(field), format!("is not served: {instead}"));
        }
    }
    let own = Parts {
        load_balancer: &written.load_balancer,
        connection_pool: &written.connection_pool,
        outlier_detection: &written.outlier_detection,
        tls: &written.tls,
    };
    let policy = policy(&own, scope, Code::NoVerification, at, notes);
    (policy, ports(&written.port_level_settings, scope, &at.field("portLevelSettings"), notes))
}

fn ports(
    written: &[schema::PortTrafficPolicy],
    scope: &Scope<'_>,
    at: &At<'_>,
    notes: &mut Notes,
) -> BTreeMap<u16, TrafficPolicy> {
    let mut read = BTreeMap::new();
    for (index, written) in written.iter().enumerate() {
        let at = at.index(index);
        let parts = Parts {
            load_balancer: &written.load_balancer,
            connection_pool: &written.connection_pool,
            outlier_detection: &written.outlier_detection,
            tls: &written.tls,
        };
        let policy = policy(&parts, scope, Code::NoVerificationOfPort, &at, notes);
        let port_at = at.field("port");
        let number_at = port_at.field("number");
        let number = written.port.as_ref().and_then(|port| port.number);
        match number.map(|number| u16::try_from(number).ok().filter(|number| *number != 0)) {
            None => notes.error(&number_at, "is required: write `port: {number: 80}`"),
            Some(None) => notes.error(
                &number_at,
                format!("port {} does not exist: write a port from 1 to 65535", number.unwrap_or(0)),
            ),
            Some(Some(number)) => {
                if read.insert(number, policy).is_some() {
                    notes.error(&number_at, format!("port {number} stands twice in the list: merge the two"));
                }
            }
        }
    }
    read
}

fn policy(
    written: &Parts<'_>,
    scope: &Scope<'_>,
    unverified: Code,
    at: &At<'_>,
    notes: &mut Notes,
) -> TrafficPolicy {
    let balancer = written.load_balancer.as_ref();
    let load_balancer = balancer.map(|written| balance::read(written, &at.field("loadBalancer"), notes));
    let places = load_balancer.as_ref().and_then(|balancer| balancer.locality.as_ref());
    let fails_over =
        places.is_some_and(|places| !places.failover.is_empty() || !places.failover_priority.is_empty());
    if fails_over && written.outlier_detection.is_none() {
        let at = at.field("loadBalancer");
        notes.warning(
            &at.field("localityLbSetting"),
            "fails over only where outlierDetection says what has failed: write one beside loadBalancer",
        );
    }
    let checked = tls::Checked { code: unverified };
    TrafficPolicy {
        load_balancer,
        connection_pool: written
            .connection_pool
            .as_ref()
            .map(|written| pool::read(written, &at.field("connectionPool"), notes)),
        outlier_detection: written
            .outlier_detection
            .as_ref()
            .map(|written| pool::outliers(written, &at.field("outlierDetection"), notes)),
        tls: written
            .tls
            .as_ref()
            .map(|written| tls::read(written, scope.credential, &checked, &at.field("tls"), notes)),
    }
}
