//! Kinds about traffic and policy: read by `heddle_api`, handed to the index as its model.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heddle_api::authorization;
use heddle_api::diagnostic::Code;
use heddle_api::normalised::{Context, Normalised};
use heddle_api::object::Object;
use heddle_api::route::gateway::GatewayRoute;
use heddle_api::route::{self, Grant};
use heddle_api::upstream;
use heddle_core::object::TrafficObject;

use super::{Told, selection};
use crate::index::input::{
    EntryInput, GATEWAY_GROUP, GrantInput, Input, KeyedInput, Parent, PolicyInput, RouteInput, SecretInput,
    Selection, WorkloadEntryInput,
};
use crate::registry::Verdict;

/// Reads an object that its check has found right; `None` for other kinds.
pub(super) fn read(object: &Object, context: &Context, warnings: impl Fn() -> String) -> Option<Told> {
    let traffic = |object: Option<TrafficObject>| {
        Told::accepted(object.map(|object| Input::Traffic(Arc::new(object))), warnings())
    };
    Some(match (object.kind.group, object.kind.kind) {
        ("networking.istio.io", "VirtualService") => {
            traffic(route::virtual_service(object, context).model.map(TrafficObject::Route))
        }
        ("networking.istio.io", "DestinationRule") => {
            let secrets = RefCell::new(BTreeSet::new());
            let noted = |name: &str| {
                secrets.borrow_mut().insert(name.to_owned());
                None
            };
            let rule = upstream::destination_rule(object, context, &noted).model;
            let secrets = secrets.into_inner();
            if secrets.is_empty() || rule.is_none() {
                traffic(rule.map(TrafficObject::DestinationRule))
            } else {
                let keyed = KeyedInput { object: object.clone(), secrets, context: context.clone() };
                Told::accepted(Input::Keyed(Arc::new(keyed)), warnings())
            }
        }
        ("networking.istio.io", "ServiceEntry") => {
            let model = upstream::service_entry(object, context).model;
            let input =
                model.map(|model| EntryInput { entry: model.entry, selector: model.workload_selector });
            Told::accepted(input.map(|input| Input::Entry(Arc::new(input))), warnings())
        }
        ("networking.istio.io", "WorkloadEntry") => {
            let model = upstream::workload_entry(object).model;
            let input = model.map(|model| workload_entry(object, model));
            Told::accepted(input.map(|input| Input::WorkloadEntry(Arc::new(input))), warnings())
        }
        (GATEWAY_GROUP, "HTTPRoute") => gateway(object, route::http_route(object, context), warnings()),
        (GATEWAY_GROUP, "GRPCRoute") => gateway(object, route::grpc_route(object, context), warnings()),
        (GATEWAY_GROUP, "ReferenceGrant") => {
            let grant = route::reference_grant(object).model.map(grant);
            Told::accepted(grant.map(Input::Grant), warnings())
        }
        ("security.istio.io", "AuthorizationPolicy") => policy(object, context, &warnings),
        _ => return None,
    })
}

fn gateway(object: &Object, read: Normalised<GatewayRoute>, note: String) -> Told {
    let namespace = object.namespace.as_deref().unwrap_or("default");
    let parents = super::parents(object).iter().map(|written| Parent::read(written, namespace)).collect();
    let input = read
        .model
        .filter(|read| !read.refused)
        .map(|read| Input::Route(Arc::new(RouteInput { route: read.route, parents, dropped: read.dropped })));
    Told::accepted(input, note)
}

fn grant(grant: Grant) -> GrantInput {
    let from = grant.from.into_iter().map(|from| (from.group, from.kind, from.namespace));
    let to = grant.to.into_iter().map(|to| (to.group, to.kind, to.name));
    GrantInput { from: from.collect(), to: to.collect() }
}

/// The certificates of a Secret; `None` where it has none.
pub(super) fn secret(object: &Object) -> Option<Input> {
    let text = |keys: [&str; 2]| keys.iter().find_map(|key| secret_text(object, key));
    let credential = upstream::Credential {
        ca: text(["ca.crt", "cacert"]),
        certificate: text(["tls.crt", "cert"]),
        private_key: text(["tls.key", "key"]),
    };
    let any = credential != upstream::Credential::default();
    any.then(|| Input::Secret(Arc::new(SecretInput(credential))))
}

fn secret_text(object: &Object, key: &str) -> Option<String> {
    let field = |part: &str| object.value.get(part)?.get(key)?.as_str();
    if let Some(text) = field("stringData") {
        return Some(text.to_owned());
    }
    let bytes = STANDARD.decode(field("data")?).ok()?;
    String::from_utf8(bytes).ok()
}

/// Selected by the labels of its spec; those of the object count where the spec has none of that name.
fn workload_entry(object: &Object, model: upstream::WorkloadEntry) -> WorkloadEntryInput {
    let mut labels = object.labels();
    labels.extend(model.labels);
    WorkloadEntryInput {
        address: model.address,
        ports: model.ports,
        labels,
        locality: model.locality,
        weight: model.weight,
        service_account: model.service_account,
    }
}

/// What stands where a security object cannot be read and never could.
pub(super) fn in_place_of(object: &Object, context: &Context) -> Option<Input> {
    match (object.kind.group, object.kind.kind) {
        ("security.istio.io", "AuthorizationPolicy") => Some(Input::Denial(selected(object, context))),
        ("security.istio.io", _) => Some(Input::Denial(selection(object))),
        _ => None,
    }
}

fn policy(object: &Object, context: &Context, warnings: &impl Fn() -> String) -> Told {
    let Normalised { model, problems } = authorization::authorization_policy(object, context);
    let unserved = problems.iter().any(|problem| problem.code == Code::NotServed);
    match model.and_then(|model| Some((model.policy?, model.selector, model.services))) {
        Some((policy, selector, services)) => {
            let selection = Selection { selector, services };
            let input = Input::Policy(Arc::new(PolicyInput { selection, policy }));
            match unserved {
                false => Told::accepted(input, warnings()),
                // A condition of it: the rest is in force, and what the condition leaves open is denied.
                true => Told { input: Some(input), ..Told::new(Verdict::Unsupported(warnings())) },
            }
        }
        None => Told {
            input: Some(Input::Denial(selected(object, context))),
            ..Told::new(Verdict::Unsupported(warnings()))
        },
    }
}

/// What a policy selects; where that cannot be told, everything in its reach.
fn selected(object: &Object, context: &Context) -> Selection {
    let model = authorization::authorization_policy(object, context).model;
    model.map(|model| Selection { selector: model.selector, services: model.services }).unwrap_or_default()
}
