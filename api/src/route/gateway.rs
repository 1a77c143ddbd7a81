//! HTTPRoute and GRPCRoute attached to Services (GAMMA), and ReferenceGrant.
//!
//! Source: Gateway API `apis/v1`: its types, and the CEL rules of its CRDs, whose refusals these are. What needs other
//! objects (does the Service exist, is there a grant) is for the reader of the result.

use std::collections::HashSet;

use heddle_core::route::model::{Attach, HttpAction, HttpRule, Retries, RouteObject};
use serde_json::Value;

use crate::diagnostic::Problem;
use crate::duration;
use crate::names;
use crate::normalised::{Context, Normalised, Resource};
use crate::object::Object;
use crate::report::{At, Notes};

use filters::Filtered;
use schema::{GrpcRouteRule, GrpcRouteSpec, HttpRouteRule, HttpRouteSpec, Retry, Timeouts};

mod backends;
mod filters;
pub(crate) mod grant;
mod matches;
mod parents;
mod schema;

#[cfg(test)]
mod tests;

pub use grant::{Grant, GrantFrom, GrantTo, reference_grant};
pub use parents::ParentRef;

const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
const MOST_RULES: usize = 16;
const MOST_MATCHES: usize = 128;
/// What is retried where a rule says `retry`, beside its codes: connection errors (GEP-1731: "disconnect, reset, timeout,
/// TCP failure"), and the statuses of gRPC that Istio names beside them.
const CONNECTION_ERRORS: &str = "reset,connect-failure,refused-stream,unavailable,cancelled";
const DEFAULT_ATTEMPTS: u32 = 2;

/// A route, and what its conditions are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayRoute {
    /// Attached to every Service among its parents, allowed or not; backends are those written, there or not.
    pub route: RouteObject,
    /// All of them, as written.
    pub parents: Vec<ParentRef>,
    /// Backends of a kind that is none: `ResolvedRefs=False`, reason `InvalidKind`.
    pub invalid_kinds: Vec<String>,
    /// Rules that are answered 500 because something in them is not served: `Accepted=False`, reason `UnsupportedValue`,
    /// where it is all of them; else `PartiallyInvalid`.
    pub dropped: Vec<String>,
    /// The spec is refused: the route has no rule, and [`Normalised::problems`] say why.
    pub refused: bool,
}

struct Scope<'a> {
    namespace: &'a str,
    context: &'a Context,
}

/// What conditions are made of, while a route is read.
#[derive(Default)]
struct Found {
    invalid_kinds: Vec<String>,
    dropped: Vec<String>,
}

/// Reads an HTTPRoute. The model is there, with its parents, where the spec is refused too.
pub fn http_route(object: &Object, context: &Context) -> Normalised<GatewayRoute> {
    read_http(&object.value, context)
}

/// Reads a GRPCRoute.
pub fn grpc_route(object: &Object, context: &Context) -> Normalised<GatewayRoute> {
    read_grpc(&object.value, context)
}

/// Schema and rules of an HTTPRoute.
pub(crate) fn check_http(value: &Value) -> Vec<Problem> {
    read_http(value, &Context::default()).problems
}

/// Schema and rules of a GRPCRoute.
pub(crate) fn check_grpc(value: &Value) -> Vec<Problem> {
    read_grpc(value, &Context::default()).problems
}

fn read_http(value: &Value, context: &Context) -> Normalised<GatewayRoute> {
    let mut notes = Notes::default();
    let read = Resource::<HttpRouteSpec>::read(value, &mut notes).map(|resource| {
        let scope = Scope { namespace: resource.namespace(), context };
        let (spec, at, mut found) = (&resource.spec, At::root("spec"), Found::default());
        let parents = parents::read(&spec.parent_refs, &scope, &at.field("parentRefs"), &mut notes);
        hostnames(&spec.hostnames, &at.field("hostnames"), &mut notes);
        let default = [HttpRouteRule::default()];
        let rules = spec.rules.as_deref().unwrap_or(&default);
        let rules_at = at.field("rules");
        bounds(rules.iter().map(|rule| (rule.name.as_deref(), rule.matches.len())), &rules_at, &mut notes);
        let rules = rules.iter().enumerate();
        let rules = rules
            .map(|(index, rule)| http_rule(rule, &scope, &mut found, &rules_at.index(index), &mut notes))
            .collect();
        route(&resource, "HTTPRoute", rules, parents, found, &scope)
    });
    conclude(read, value, "HTTPRoute", context, notes)
}

fn read_grpc(value: &Value, context: &Context) -> Normalised<GatewayRoute> {
    let mut notes = Notes::default();
    let read = Resource::<GrpcRouteSpec>::read(value, &mut notes).map(|resource| {
        let scope = Scope { namespace: resource.namespace(), context };
        let (spec, at, mut found) = (&resource.spec, At::root("spec"), Found::default());
        let parents = parents::read(&spec.parent_refs, &scope, &at.field("parentRefs"), &mut notes);
        hostnames(&spec.hostnames, &at.field("hostnames"), &mut notes);
        let default = [GrpcRouteRule::default()];
        let rules = spec.rules.as_deref().unwrap_or(&default);
        let rules_at = at.field("rules");
        bounds(rules.iter().map(|rule| (rule.name.as_deref(), rule.matches.len())), &rules_at, &mut notes);
        let rules = rules.iter().enumerate();
        let rules = rules
            .map(|(index, rule)| grpc_rule(rule, &scope, &mut found, &rules_at.index(index), &mut notes))
            .collect();
        route(&resource, "GRPCRoute", rules, parents, found, &scope)
    });
    conclude(read, value, "GRPCRoute", context, notes)
}

fn route<S: serde::de::DeserializeOwned + Default>(
    resource: &Resource<S>,
    kind: &str,
    mut http: Vec<HttpRule>,
    parents: Vec<ParentRef>,
    found: Found,
    scope: &Scope<'_>,
) -> GatewayRoute {
    for (index, rule) in http.iter_mut().enumerate().filter(|(_, rule)| rule.name.is_empty()) {
        // As Istio names them in access logs.
        rule.name = format!("{}.{}.{index}", resource.namespace(), resource.name());
    }
    let route = RouteObject {
        source: resource.source(kind),
        created: resource.created(),
        attach: Attach::Services(parents::services(&parents, scope)),
        http,
        tls: Vec::new(),
        tcp: Vec::new(),
    };
    GatewayRoute {
        route,
        parents,
        invalid_kinds: found.invalid_kinds,
        dropped: found.dropped,
        refused: false,
    }
}

/// A route that is refused keeps its parents, so that its status can say so to each of them, and loses its rules.
fn conclude(
    read: Option<GatewayRoute>,
    value: &Value,
    kind: &str,
    context: &Context,
    notes: Notes,
) -> Normalised<GatewayRoute> {
    let refused = notes.refused();
    let text = |pointer| value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let namespace = text("/metadata/namespace").unwrap_or("default");
    let mut model = read.unwrap_or_else(|| {
        let parents = parents::salvage(value, namespace);
        let scope = Scope { namespace, context };
        let place = format!("{namespace}/{}", text("/metadata/name").unwrap_or_default());
        let route = RouteObject {
            source: heddle_core::object::ObjectRef::named(kind, &place),
            created: i64::MAX,
            attach: Attach::Services(parents::services(&parents, &scope)),
            http: Vec::new(),
            tls: Vec::new(),
            tcp: Vec::new(),
        };
        GatewayRoute { route, parents, invalid_kinds: Vec::new(), dropped: Vec::new(), refused }
    });
    if refused {
        model.refused = true;
        model.route.http.clear();
    }
    Normalised { model: Some(model), problems: notes.finish() }
}

fn http_rule(
    rule: &HttpRouteRule,
    scope: &Scope<'_>,
    found: &mut Found,
    at: &At<'_>,
    notes: &mut Notes,
) -> HttpRule {
    let one_prefix = matches::has_one_prefix(&rule.matches);
    let filters_at = at.field("filters");
    let filtered = filters::read(&rule.filters, one_prefix, scope, found, &filters_at, notes);
    let backends_at = at.field("backendRefs");
    let backends = backends::read(&rule.backend_refs, one_prefix, scope, found, &backends_at, notes);
    if filtered.redirect.is_some() && !backends.is_empty() {
        notes.error(&backends_at, "cannot stand beside the filter RequestRedirect: remove one of them");
    }
    if rule.session_persistence.is_some() {
        notes.unserved(&at.field("sessionPersistence"), "is not served: requests go to any endpoint; for affinity write a DestinationRule with consistentHash");
    }
    let (timeout, try_timeout) = timeouts(rule.timeouts.as_ref(), &at.field("timeouts"), notes);
    let matches = matches::http(&rule.matches, &at.field("matches"), notes);
    let retries = retries(rule.retry.as_ref(), try_timeout, &at.field("retry"), notes);
    let read = HttpRule {
        name: rule.name.clone().unwrap_or_default(),
        matches,
        timeout,
        retries,
        ..HttpRule::default()
    };
    finish(read, filtered, backends, found, at)
}

fn grpc_rule(
    rule: &GrpcRouteRule,
    scope: &Scope<'_>,
    found: &mut Found,
    at: &At<'_>,
    notes: &mut Notes,
) -> HttpRule {
    let filters: Vec<schema::Filter> = rule.filters.iter().cloned().map(Into::into).collect();
    let filtered = filters::read(&filters, false, scope, found, &at.field("filters"), notes);
    let backends: Vec<schema::HttpBackendRef> = rule.backend_refs.iter().cloned().map(Into::into).collect();
    let backends = backends::read(&backends, false, scope, found, &at.field("backendRefs"), notes);
    if rule.session_persistence.is_some() {
        notes.unserved(&at.field("sessionPersistence"), "is not served: requests go to any endpoint; for affinity write a DestinationRule with consistentHash");
    }
    let matches = matches::grpc(&rule.matches, &at.field("matches"), notes);
    let read = HttpRule { name: rule.name.clone().unwrap_or_default(), matches, ..HttpRule::default() };
    finish(read, filtered, backends, found, at)
}

fn finish(
    rule: HttpRule,
    filtered: Filtered,
    backends: Vec<heddle_core::route::model::Backend>,
    found: &mut Found,
    at: &At<'_>,
) -> HttpRule {
    let Filtered { headers, rewrite, redirect, mirrors, cors, broken } = filtered;
    if let Some(reason) = &broken {
        found.dropped.push(format!("{at}: {reason}"));
    }
    let action = redirect.map_or(HttpAction::Forward(backends), HttpAction::Redirect);
    HttpRule { action, headers, rewrite, mirrors, cors, broken, ..rule }
}

/// (the whole request, each try).
fn timeouts(
    written: Option<&Timeouts>,
    at: &At<'_>,
    notes: &mut Notes,
) -> (Option<std::time::Duration>, Option<std::time::Duration>) {
    let Some(written) = written else { return (None, None) };
    let (request_at, backend_at) = (at.field("request"), at.field("backendRequest"));
    let request = gateway_duration(written.request.as_deref(), &request_at, notes);
    let each = gateway_duration(written.backend_request.as_deref(), &backend_at, notes);
    if let (Some(request), Some(each)) = (request, each)
        && !request.is_zero()
        && each > request
    {
        notes.error(
            &backend_at,
            "is longer than timeouts.request, within which all tries must fit: write a shorter one",
        );
    }
    (request, each.filter(|each| !each.is_zero()))
}

fn gateway_duration(text: Option<&str>, at: &At<'_>, notes: &mut Notes) -> Option<std::time::Duration> {
    let text = text?;
    let read = duration::gateway(text);
    if read.is_none() {
        notes.error(at, format!("{text:?} is no duration: write whole numbers of at most 5 digits with h, m, s or ms: \"10s\", \"1m30s\""));
    }
    read
}

fn retries(
    written: Option<&Retry>,
    per_try_timeout: Option<std::time::Duration>,
    at: &At<'_>,
    notes: &mut Notes,
) -> Option<Retries> {
    let Some(written) = written else {
        // The default of the mesh with a deadline for each try.
        let attempts = DEFAULT_ATTEMPTS;
        return per_try_timeout.map(|_| Retries { attempts, per_try_timeout, ..Retries::default() });
    };
    let codes_at = at.field("codes");
    let mut retry_on = CONNECTION_ERRORS.to_owned();
    for (index, code) in written.codes.iter().enumerate() {
        if !(400..=599).contains(code) {
            notes.error(&codes_at.index(index), format!("is {code}: write a status from 400 to 599"));
        }
        retry_on.push_str(&format!(",{code}"));
    }
    let attempts = written.attempts.unwrap_or_else(|| DEFAULT_ATTEMPTS.into());
    let read = u32::try_from(attempts).unwrap_or_else(|_| {
        notes.error(&at.field("attempts"), format!("is {attempts}, expected 0 (none) or more"));
        0
    });
    let backoff = gateway_duration(written.backoff.as_deref(), &at.field("backoff"), notes);
    Some(Retries {
        attempts: read,
        per_try_timeout,
        retry_on,
        backoff: backoff.filter(|pause| !pause.is_zero()),
        least_backoff: backoff,
        ..Retries::default()
    })
}

/// Numbers of rules and matches, and their names.
fn bounds<'a>(
    rules: impl ExactSizeIterator<Item = (Option<&'a str>, usize)>,
    at: &At<'_>,
    notes: &mut Notes,
) {
    some_at_most(rules.len(), MOST_RULES, at, notes);
    let (mut seen, mut total) = (HashSet::new(), 0);
    for (index, (name, matches)) in rules.enumerate() {
        total += matches;
        let at = at.index(index);
        let Some(name) = name else { continue };
        if !names::is_dns_subdomain(name) {
            notes.error(&at.field("name"), format!("{name:?} is not a name: {}", names::DNS_SUBDOMAIN));
        } else if !seen.insert(name) {
            notes.error(&at.field("name"), format!("another rule is named {name:?}"));
        }
    }
    if total > MOST_MATCHES {
        notes.error(at, format!("has {total} matches in all, {MOST_MATCHES} is the most: split the route"));
    }
}

/// The mesh takes a Service's own names; a route's are for gateways.
fn hostnames(written: &[String], at: &At<'_>, notes: &mut Notes) {
    at_most(written.len(), 16, at, notes);
    for (index, name) in written.iter().enumerate() {
        if !names::is_dns_subdomain(name.strip_prefix("*.").unwrap_or(name)) {
            notes.error(&at.index(index), format!("{name:?} is no host: {}", names::DNS_SUBDOMAIN));
        }
    }
    if !written.is_empty() {
        notes.warning(
            at,
            "has no effect where a Service is the parent: all requests to the Service are meant",
        );
    }
}

fn at_most(count: usize, most: usize, at: &At<'_>, notes: &mut Notes) {
    if count > most {
        notes.error(at, format!("has {count} items, {most} is the most"));
    }
}

fn some_at_most(count: usize, most: usize, at: &At<'_>, notes: &mut Notes) {
    if count == 0 {
        notes.error(at, "is empty: write at least one item");
    }
    at_most(count, most, at, notes);
}
