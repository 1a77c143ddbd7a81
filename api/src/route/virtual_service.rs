//! VirtualService, made into rules of the mesh.
//!
//! Sources: Istio API `networking/v1/virtual_service.proto`; Istio `pkg/config/validation`, whose refusals these are.

use std::collections::HashSet;

use heddle_core::route::model::{Attach, HttpAction, HttpRule, RouteObject};
use serde_json::Value;

use crate::diagnostic::Problem;
use crate::duration;
use crate::names;
use crate::normalised::{Context, Normalised, Resource, export_to};
use crate::object::Object;
use crate::report::{At, Notes};

use super::{hosts, qualified};
use schema::{HttpRoute, VirtualServiceSpec};

mod actions;
mod connections;
mod destinations;
mod faults;
mod matches;
mod meant;
pub(crate) mod schema;

#[cfg(test)]
mod tests;

pub(crate) use actions::retries;
pub(crate) use matches::is_header_name;

/// What the parts of an object need to know of the whole.
struct Scope<'a> {
    namespace: &'a str,
    context: &'a Context,
    gateways: Gateways,
    delegate: bool,
}

/// Which gateways the object names.
#[derive(Clone, Copy)]
struct Gateways {
    /// `mesh`, or none at all.
    mesh: bool,
}

/// The rules of a VirtualService. There is no model where it is refused, or where it names gateways only.
pub fn virtual_service(object: &Object, context: &Context) -> Normalised<RouteObject> {
    read(&object.value, context)
}

/// What is written, with plain intent in its canonical form; `None` where the schema is broken.
pub(crate) fn written(object: &Object) -> Option<VirtualServiceSpec> {
    let mut value = object.value.clone();
    meant::mend(&mut value, &mut Notes::default());
    serde::Deserialize::deserialize(value.get("spec")?).ok()
}

/// Schema and rules.
pub(crate) fn check(value: &Value) -> Vec<Problem> {
    read(value, &Context::default()).problems
}

fn read(value: &Value, context: &Context) -> Normalised<RouteObject> {
    let mut notes = Notes::default();
    let mut value = value.clone();
    meant::mend(&mut value, &mut notes);
    let Some(resource) = Resource::<VirtualServiceSpec>::read(&value, &mut notes) else {
        return Normalised::new(None, notes);
    };
    let spec = &resource.spec;
    let at = At::root("spec");
    let gateways =
        Gateways { mesh: spec.gateways.is_empty() || spec.gateways.iter().any(|name| name == "mesh") };
    let scope = Scope { namespace: resource.namespace(), context, gateways, delegate: spec.hosts.is_empty() };
    let own = own_hosts(spec, &scope, &at, &mut notes);
    shape(spec, &at, &mut notes);
    let exported = export_to(&spec.export_to, &context.virtual_service_export_to, scope.namespace);
    hosts::check_export_to(&spec.export_to, &at.field("exportTo"), &mut notes);
    let model = RouteObject {
        source: resource.source("VirtualService"),
        created: resource.created(),
        http: http(&spec.http, &scope, &at.field("http"), &mut notes),
        tls: connections::tls(&spec.tls, &own, &scope, &at.field("tls"), &mut notes),
        tcp: connections::tcp(&spec.tcp, &scope, &at.field("tcp"), &mut notes),
        attach: match scope.delegate {
            true => Attach::Delegate { export_to: exported },
            false => Attach::Hosts { hosts: own, export_to: exported },
        },
    };
    let concerns = !(model.http.is_empty() && model.tls.is_empty() && model.tcp.is_empty());
    if !gateways.mesh && !concerns {
        notes.unserved(&at.field("gateways"), "names gateways only, which are not served yet: it has no effect; for traffic inside the mesh add `mesh`");
    }
    Normalised::new(concerns.then_some(model), notes)
}

fn own_hosts(spec: &VirtualServiceSpec, scope: &Scope<'_>, at: &At<'_>, notes: &mut Notes) -> Vec<String> {
    let at = at.field("hosts");
    let mut own = Vec::with_capacity(spec.hosts.len());
    let mut seen = HashSet::new();
    for (index, host) in spec.hosts.iter().enumerate() {
        let at = at.index(index);
        if !hosts::check(host, &at, notes) {
            continue;
        }
        if host == "*" && scope.gateways.mesh {
            notes.error(
                &at,
                "\"*\" cannot be bound to the mesh: write the hosts, or name the gateways it is for",
            );
        } else if !scope.gateways.mesh && !host.contains('.') {
            notes.warning(
                &at,
                format!(
                    "{host:?} is a short name, which a gateway takes as written: write it with its domain"
                ),
            );
        }
        let host = qualified(host, scope.namespace, &scope.context.cluster_domain);
        if seen.insert(host.clone()) {
            own.push(host);
        } else {
            notes.error(&at, format!("{host:?} stands twice in the list: remove one"));
        }
    }
    own
}

/// What must and must not stand beside each other at the top.
fn shape(spec: &VirtualServiceSpec, at: &At<'_>, notes: &mut Notes) {
    let hosts_at = at.field("hosts");
    if spec.http.is_empty() && spec.tcp.is_empty() && spec.tls.is_empty() {
        notes.error(at, "has no rule: write at least one of http, tcp and tls");
    }
    if spec.hosts.is_empty() {
        if !spec.tcp.is_empty() || !spec.tls.is_empty() {
            notes.error(
                &hosts_at,
                "is required: without hosts only http rules can stand, for others to delegate to",
            );
        }
        if !spec.gateways.is_empty() {
            notes.error(
                &at.field("gateways"),
                "cannot stand without hosts: what is delegated to takes the gateways of the delegating one",
            );
        }
    }
    let gateways_at = at.field("gateways");
    for (index, name) in spec.gateways.iter().enumerate() {
        let plain =
            name.split_once('/').map_or((None, name.as_str()), |(namespace, name)| (Some(namespace), name));
        let right = plain.0.is_none_or(|namespace| namespace == "." || names::is_dns_label(namespace));
        let generated = plain.1.contains('~');
        if !right || !generated && !names::is_dns_subdomain(plain.1) {
            notes.error(
                &gateways_at.index(index),
                format!("{name:?} is no gateway: write NAME, NAMESPACE/NAME or mesh"),
            );
        }
    }
}

fn http(written: &[HttpRoute], scope: &Scope<'_>, at: &At<'_>, notes: &mut Notes) -> Vec<HttpRule> {
    let mut rules = Vec::with_capacity(written.len());
    for (index, route) in written.iter().enumerate() {
        let at = at.index(index);
        let matches = matches::read(&route.r#match, scope.gateways, &at.field("match"), notes);
        let rule = http_rule(route, scope, &at, notes);
        if let Some(matches) = matches {
            rules.push(HttpRule { matches, ..rule });
        }
    }
    rules
}

fn http_rule(route: &HttpRoute, scope: &Scope<'_>, at: &At<'_>, notes: &mut Notes) -> HttpRule {
    if scope.delegate || route.delegate.is_some() {
        delegable(route, scope, at, notes);
    }
    let rewrite =
        route.rewrite.as_ref().map(|rewrite| actions::rewrite(rewrite, &at.field("rewrite"), notes));
    let headers = destinations::headers(route.headers.as_ref(), &at.field("headers"), notes);
    authority_once(rewrite.as_ref().and_then(|rewrite| rewrite.authority.as_deref()), &headers, at, notes);
    HttpRule {
        name: route.name.clone().unwrap_or_default(),
        matches: Vec::new(),
        action: action(route, scope, at, notes),
        rewrite,
        timeout: duration::istio_or_zero(route.timeout.as_deref(), &at.field("timeout"), notes),
        retries: route.retries.as_ref().map(|retries| actions::retries(retries, &at.field("retries"), notes)),
        fault: route.fault.as_ref().and_then(|fault| faults::fault(fault, &at.field("fault"), notes)),
        mirrors: destinations::mirrors(route, scope, at, notes),
        cors: route.cors_policy.as_ref().map(|cors| faults::cors(cors, &at.field("corsPolicy"), notes)),
        headers,
        broken: None,
    }
}

fn action(route: &HttpRoute, scope: &Scope<'_>, at: &At<'_>, notes: &mut Notes) -> HttpAction {
    let written = [
        ("route", !route.route.is_empty()),
        ("redirect", route.redirect.is_some()),
        ("directResponse", route.direct_response.is_some()),
        ("delegate", route.delegate.is_some()),
    ];
    let named: Vec<&str> = written.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    match named.as_slice() {
        [] => notes.error(at, "does nothing: write one of route, redirect, directResponse and delegate"),
        [_] => {}
        several => notes.error(at, format!("has {}: a rule does one of them", several.join(" and "))),
    }
    if named.contains(&"redirect") || named.contains(&"directResponse") {
        for (field, there) in [("fault", route.fault.is_some()), ("rewrite", route.rewrite.is_some())] {
            if there {
                notes.error(
                    &at.field(field),
                    format!("cannot stand beside {}: remove one of them", named.join(" and ")),
                );
            }
        }
    }
    if let Some(written) = &route.redirect {
        return HttpAction::Redirect(actions::redirect(written, &at.field("redirect"), notes));
    }
    if let Some(written) = &route.direct_response {
        return HttpAction::Respond(actions::direct_response(written, &at.field("directResponse"), notes));
    }
    let backends = destinations::http(&route.route, scope, &at.field("route"), notes);
    let Some(delegate) = &route.delegate else { return HttpAction::Forward(backends) };
    let at = at.field("delegate");
    let name = delegate.name.clone().unwrap_or_default();
    if name.is_empty() {
        notes.error(&at.field("name"), "is required: write the name of a VirtualService without hosts");
    }
    let namespace =
        delegate.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(scope.namespace);
    HttpAction::Delegate { namespace: namespace.to_owned(), name }
}

/// Rules on either end of a delegation: no chains, and no expressions in matches, which cannot be merged.
fn delegable(route: &HttpRoute, scope: &Scope<'_>, at: &At<'_>, notes: &mut Notes) {
    if scope.delegate && route.delegate.is_some() {
        notes.error(
            &at.field("delegate"),
            "cannot stand in what is delegated to (no spec.hosts): delegation has one step; write a route",
        );
    }
    let match_at = at.field("match");
    for (index, each) in route.r#match.iter().enumerate() {
        let at = match_at.index(index);
        let texts = [
            ("uri", &each.uri),
            ("scheme", &each.scheme),
            ("method", &each.method),
            ("authority", &each.authority),
        ];
        let maps = [
            ("headers", &each.headers),
            ("queryParams", &each.query_params),
            ("withoutHeaders", &each.without_headers),
        ];
        let entries = maps.iter().flat_map(|(field, map)| map.values().map(move |text| (*field, text)));
        for (field, text) in texts.into_iter().chain(entries) {
            if text.as_ref().is_some_and(|text| text.regex.is_some()) {
                notes.error(&at.field(field), "takes no regex where rules delegate: write exact or prefix");
            }
        }
    }
}

/// The authority may be set in one place.
fn authority_once(
    rewrite: Option<&str>,
    headers: &heddle_core::route::model::HeaderChanges,
    at: &At<'_>,
    notes: &mut Notes,
) {
    let of_headers = headers.request.set.iter().chain(&headers.request.add);
    let count = of_headers.filter(|(name, _)| name == "host" || name == ":authority").count();
    if count + usize::from(rewrite.is_some()) > 1 {
        notes.error(at, "sets the authority twice (rewrite.authority, and host among the headers): keep rewrite.authority");
    }
}

/// A port by number.
fn port(number: i64, at: &At<'_>, notes: &mut Notes) -> Option<u16> {
    let right = u16::try_from(number).ok().filter(|number| *number != 0);
    if right.is_none() {
        notes.error(at, format!("port {number} does not exist: write a port from 1 to 65535"));
    }
    right
}
