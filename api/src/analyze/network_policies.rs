//! NetworkPolicies that keep the tunnel out: between pods of the mesh everything goes to port 15008.

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::world::{World, namespace};
use crate::diagnostic::{Code, Severity};
use crate::object::Object;
use crate::report::{At, Notes};

const TUNNEL: i32 = 15_008;

pub(super) fn check(object: &Object, world: &World, notes: &mut Notes) {
    let Some(spec) = object.typed::<NetworkPolicy>().ok().and_then(|policy| policy.spec) else { return };
    if !selects_mesh(&spec, namespace(object), world) {
        return;
    }
    let at = At::root("spec");
    let ingress = spec.ingress.iter().flatten().map(|rule| rule.ports.as_deref());
    let egress = spec.egress.iter().flatten().map(|rule| rule.ports.as_deref());
    let rules = ingress
        .enumerate()
        .map(|found| ("ingress", found))
        .chain(egress.enumerate().map(|found| ("egress", found)));
    for (field, (index, ports)) in rules {
        let Some(ports) = ports.filter(|ports| !ports.is_empty()) else { continue };
        // A rule for UDP alone, that of DNS say, keeps no connection of the mesh.
        let tcp = ports.iter().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
        if tcp.clone().count() == 0 || tcp.clone().any(admits) {
            continue;
        }
        let at = at.field(field);
        let at = at.index(index);
        let message = format!(
            "selects pods of the mesh and does not admit port {TUNNEL}, by which they reach each other: add `- port: {TUNNEL}`"
        );
        notes.put(Severity::Warning, Code::TunnelNotAdmitted, &at.field("ports"), message);
    }
}

fn selects_mesh(spec: &NetworkPolicySpec, namespace: &str, world: &World) -> bool {
    let selector = spec.pod_selector.as_ref();
    let labels = selector.and_then(|selector| selector.match_labels.clone()).unwrap_or_default();
    // An expression narrows: that the policy selects a pod of the mesh is then likely, not sure.
    world.has_enrolled(namespace, &labels)
}

fn admits(port: &NetworkPolicyPort) -> bool {
    match (&port.port, port.end_port) {
        (None, _) => true,
        (Some(IntOrString::Int(first)), None) => *first == TUNNEL,
        (Some(IntOrString::Int(first)), Some(last)) => (*first..=last).contains(&TUNNEL),
        (Some(IntOrString::String(_)), _) => false,
    }
}
