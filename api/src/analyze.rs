//! Conditions across objects: what is right by itself and wrong together.
//!
//! ```text
//! objects ──► world ──► virtual_services, rules, delegates   VirtualService
//!             what is   destination_rules                    DestinationRule, ServiceEntry
//!             there     gateway_routes                       HTTPRoute, GRPCRoute
//!                       policies                             AuthorizationPolicy, PeerAuthentication
//!                       network_policies                     NetworkPolicy
//! ```
//!
//! Every check is linear in the objects: each asks the world's tables, none compares all with all.

use crate::diagnostic::Problem;
use crate::object::Object;
use crate::report::Notes;

mod delegates;
mod destination_rules;
mod gateway_routes;
mod network_policies;
mod policies;
mod rules;
mod virtual_services;
mod world;

#[cfg(test)]
mod tests;

use world::World;

/// A finding about one of the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its place among those that were given.
    pub object: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// Everything about objects that are right by themselves, in their order. Objects without a namespace count as in
/// `default`.
pub fn analyze(objects: &[&Object]) -> Vec<Finding> {
    let world = World::of(objects);
    let mut findings = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        let mut notes = Notes::default();
        one(object, index, &world, &mut notes);
        findings.extend(notes.finish().into_iter().map(|problem| Finding { object: index, problem }));
    }
    findings
}

fn one(object: &Object, index: usize, world: &World, notes: &mut Notes) {
    match (object.kind.group, object.kind.kind) {
        ("networking.istio.io", "VirtualService") => virtual_services::check(object, index, world, notes),
        ("networking.istio.io", "DestinationRule") => destination_rules::check(object, world, notes),
        ("networking.istio.io", "ServiceEntry") => destination_rules::check_entry(object, world, notes),
        ("gateway.networking.k8s.io", "HTTPRoute" | "GRPCRoute") => {
            gateway_routes::check(object, world, notes)
        }
        ("security.istio.io", "AuthorizationPolicy") => policies::check(object, world, notes),
        ("security.istio.io", "PeerAuthentication") => policies::check_selector(object, world, notes),
        ("networking.k8s.io", "NetworkPolicy") => network_policies::check(object, world, notes),
        _ => {}
    }
}
