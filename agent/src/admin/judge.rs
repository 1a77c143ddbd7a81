//! `POST /judge`: what a local pod's policies say of a request that would come in.

use std::net::{IpAddr, SocketAddr};

use heddle_core::authorize::{Flow, Peer, authorize, authorize_request};
use heddle_core::identity::Identity;
use heddle_core::policy::{Action, RequestFacts, Subject};
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::LocalWorkload;
use serde::Deserialize;
use serde_json::{Value, json};

/// Who would come with what.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Case {
    /// The pod that is dialled.
    address: IpAddr,
    port: u16,
    /// `spiffe://…` of the client; `None`: in clear.
    identity: Option<String>,
    source: IpAddr,
    method: String,
    path: String,
    authority: String,
}

/// The verdict, the policy that decided, and what each policy said.
pub(super) fn judge(snapshot: &Snapshot, case: &Case) -> Result<Value, String> {
    let workload = snapshot.workload_at(case.address).ok_or("nobody has announced the address")?;
    let local = snapshot.locals().find(|local| local.workload_uid == workload.uid);
    let local = local.ok_or("the pod is not one of this node")?;
    let identity = case.identity.as_deref().map(Identity::parse);
    let identity = identity.transpose().map_err(|error| error.to_string())?;
    let path = case.path.split('?').next().unwrap_or_default();
    let request = RequestFacts { method: &case.method, path, host: &case.authority };
    let flow = Flow {
        peer: identity.clone().map_or(Peer::Plaintext, Peer::Verified),
        source: case.source,
        destination: SocketAddr::new(case.address, case.port),
    };
    if !local.enrolled {
        let pod = format!("{}/{}", local.identity.namespace(), local.name);
        let why = "the pod is not in the mesh: nobody judges what it receives";
        return Ok(json!({ "pod": pod, "mtls": null, "verdict": "ALLOW", "why": why, "policies": [] }));
    }
    let connection = authorize(snapshot, local, &flow).map(drop);
    let verdict = connection.and_then(|()| authorize_request(snapshot, local, &flow, &request).map(drop));
    let policies = policies(snapshot, local, &flow, identity.as_ref(), &request);
    let decided = match &verdict {
        Err(denied) => denied.to_string(),
        Ok(()) => decided(&policies),
    };
    Ok(json!({
        "pod": format!("{}/{}", local.identity.namespace(), local.name),
        "mtls": local.mtls.mode(case.port),
        "verdict": if verdict.is_ok() { "ALLOW" } else { "DENY" },
        "why": decided,
        "policies": policies,
    }))
}

fn decided(policies: &[Value]) -> String {
    let allow = policies.iter().find(|each| each["action"] == "ALLOW" && !each["rule"].is_null());
    match allow {
        Some(policy) => format!(
            "allowed by policy {}, rule {}",
            policy["name"].as_str().unwrap_or_default(),
            policy["rule"]
        ),
        None if policies.is_empty() => "no policy selects the pod".to_owned(),
        None => "no DENY policy matched, and there is no ALLOW policy".to_owned(),
    }
}

fn policies(
    snapshot: &Snapshot,
    local: &LocalWorkload,
    flow: &Flow,
    identity: Option<&Identity>,
    request: &RequestFacts<'_>,
) -> Vec<Value> {
    let subject = Subject {
        identity,
        source: flow.source.to_canonical(),
        destination: flow.destination.ip().to_canonical(),
        port: flow.destination.port(),
    };
    let one = |name: &heddle_core::names::PolicyName| match snapshot.policy(name) {
        None => json!({ "name": name.as_str(), "missing": true }),
        Some(policy) => json!({
            "name": name.as_str(),
            "action": match policy.action { Action::Allow => "ALLOW", Action::Deny => "DENY" },
            "rules": policy.rules.len(),
            "rule": policy.rule_for(&subject, request),
        }),
    };
    local.policies.iter().map(one).collect()
}
