//! Destinations: hosts, ports, subsets, weights, and the headers that go with them.

use heddle_core::route::model::{Backend, BackendRef, HeaderChange, HeaderChanges, HostRef, Mirror, Share};

use super::schema::{
    Destination, HeaderOperations, Headers, HttpRoute, HttpRouteDestination, Percent, RouteDestination, Texts,
};
use super::{Scope, matches, port};
use crate::names;
use crate::report::{At, Notes};
use crate::route::{hosts, qualified};

const NOWHERE: &str = "is required: write `destination: {host: …}`";

/// `http[].route`.
pub(super) fn http(
    written: &[HttpRouteDestination],
    scope: &Scope<'_>,
    at: &At<'_>,
    notes: &mut Notes,
) -> Vec<Backend> {
    let mut backends = Vec::with_capacity(written.len());
    for (index, each) in written.iter().enumerate() {
        let at = at.index(index);
        let headers = headers(each.headers.as_ref(), &at.field("headers"), notes);
        if let Some(to) = required(each.destination.as_ref(), scope, &at, notes) {
            backends.push(backend(to, weight(each.weight, &at, notes), headers));
        }
    }
    share_out(&mut backends, at, notes);
    backends
}

/// `tcp[].route` and `tls[].route`.
pub(super) fn connections(
    written: &[RouteDestination],
    scope: &Scope<'_>,
    at: &At<'_>,
    notes: &mut Notes,
) -> Vec<Backend> {
    if written.is_empty() {
        notes.error(at, "is required: write at least one `- destination: {host: …}`");
    }
    let mut backends = Vec::with_capacity(written.len());
    for (index, each) in written.iter().enumerate() {
        let at = at.index(index);
        if let Some(to) = required(each.destination.as_ref(), scope, &at, notes) {
            backends.push(backend(to, weight(each.weight, &at, notes), HeaderChanges::default()));
        }
    }
    share_out(&mut backends, at, notes);
    backends
}

/// `mirror` with its percentages, and `mirrors`.
pub(super) fn mirrors(written: &HttpRoute, scope: &Scope<'_>, at: &At<'_>, notes: &mut Notes) -> Vec<Mirror> {
    let percentage_at = at.field("mirrorPercentage");
    let mut share = share(written.mirror_percentage.as_ref(), &percentage_at, notes);
    if let Some(percent) = written.mirror_percent {
        let at = at.field("mirrorPercent");
        let old = whole_percent(percent, &at, "mirrorPercentage", notes);
        share = share.or(old);
    }
    let mut mirrors = Vec::new();
    let mirror_at = at.field("mirror");
    if let Some(to) = &written.mirror {
        let share = share.unwrap_or(Share::ALL);
        mirrors.extend(destination(to, scope, &mirror_at, notes).map(|to| Mirror { to, share }));
        if !written.mirrors.is_empty() {
            notes.error(&mirror_at, "cannot stand beside mirrors: move it into that list");
        }
    } else if written.mirror_percentage.is_some() || written.mirror_percent.is_some() {
        notes.warning(&mirror_at, "is not there: the percentage has no effect; write `mirror: {host: …}`");
    }
    let list_at = at.field("mirrors");
    for (index, each) in written.mirrors.iter().enumerate() {
        let at = list_at.index(index);
        let share =
            self::share(each.percentage.as_ref(), &at.field("percentage"), notes).unwrap_or(Share::ALL);
        mirrors.extend(required(each.destination.as_ref(), scope, &at, notes).map(|to| Mirror { to, share }));
    }
    mirrors
}

fn backend(to: BackendRef, weight: u32, headers: HeaderChanges) -> Backend {
    Backend { to, weight, headers, rewrite: None, mirrors: Vec::new(), redirect: None }
}

fn required(
    written: Option<&Destination>,
    scope: &Scope<'_>,
    at: &At<'_>,
    notes: &mut Notes,
) -> Option<BackendRef> {
    let at = at.field("destination");
    match written {
        Some(written) => destination(written, scope, &at, notes),
        None => {
            notes.error(&at, NOWHERE);
            None
        }
    }
}

fn destination(
    written: &Destination,
    scope: &Scope<'_>,
    at: &At<'_>,
    notes: &mut Notes,
) -> Option<BackendRef> {
    let host_at = at.field("host");
    let host = written.host.as_deref().unwrap_or_default();
    if host == "*" {
        notes.error(&host_at, "\"*\" is every host: a destination is one, or a wildcard of a ServiceEntry");
        return None;
    }
    if !hosts::check(host, &host_at, notes) {
        return None;
    }
    let subset_at = at.field("subset");
    let subset = written.subset.as_deref().filter(|subset| !subset.is_empty());
    if let Some(subset) = subset.filter(|subset| !names::is_dns_label(subset)) {
        notes.error(&subset_at, format!("{subset:?} is not a subset: {}", names::DNS_LABEL));
    }
    let port_at = at.field("port");
    let number_at = port_at.field("number");
    let port = match &written.port {
        None => None,
        Some(selector) => match selector.number {
            Some(number) => port(number, &number_at, notes),
            None => {
                notes.error(&number_at, "is required: write `port: {number: 80}`, or remove the field");
                None
            }
        },
    };
    let host = qualified(host, scope.namespace, &scope.context.cluster_domain);
    Some(BackendRef::Host(HostRef { host, port, subset: subset.map(str::to_owned) }))
}

fn weight(written: Option<i64>, at: &At<'_>, notes: &mut Notes) -> u32 {
    let weight = written.unwrap_or(0);
    u32::try_from(weight).ok().filter(|weight| *weight <= 1 << 30).unwrap_or_else(|| {
        notes.error(
            &at.field("weight"),
            format!("is {weight}, expected 0 to {}: weights are shares of their sum", 1 << 30),
        );
        0
    })
}

/// One destination takes all, whatever its weight; of several at least one must have one.
fn share_out(backends: &mut [Backend], at: &At<'_>, notes: &mut Notes) {
    match backends {
        [only] => only.weight = only.weight.max(1),
        [] => {}
        several if several.iter().all(|each| each.weight == 0) => {
            notes.error(
                at,
                "the weights sum to 0: give at least one destination a weight, for example 90 and 10",
            );
        }
        several if several.iter().map(|each| u64::from(each.weight)).sum::<u64>() > u64::from(u32::MAX) => {
            notes.error(at, format!("the weights sum to more than {}: write smaller ones", u32::MAX));
        }
        _ => {}
    }
}

/// A percentage; 0 to 100, in steps of a ten-thousandth.
pub(super) fn share(written: Option<&Percent>, at: &At<'_>, notes: &mut Notes) -> Option<Share> {
    let value = written?.value.unwrap_or(0.0);
    if !(0.0..=100.0).contains(&value) {
        notes.error(&at.field("value"), format!("is {value}, expected 0 to 100"));
        return None;
    }
    let millionths = (value * 10_000.0).round();
    if value > 0.0 && millionths == 0.0 {
        notes.warning(at, format!("{value} % is less than one in a million: it counts as none"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it is within 0 and a million
    Some(Share(millionths as u32))
}

/// The old form of a percentage, a whole number.
pub(super) fn whole_percent(percent: i64, at: &At<'_>, instead: &str, notes: &mut Notes) -> Option<Share> {
    notes.warning(at, format!("is deprecated: write `{instead}: {{value: {percent}}}`"));
    let share =
        u32::try_from(percent).ok().filter(|percent| *percent <= 100).map(|percent| Share(percent * 10_000));
    if share.is_none() {
        notes.error(at, format!("is {percent}, expected 0 to 100"));
    }
    share
}

/// `headers` of a rule or of a destination.
pub(super) fn headers(written: Option<&Headers>, at: &At<'_>, notes: &mut Notes) -> HeaderChanges {
    let Some(written) = written else { return HeaderChanges::default() };
    let mut side = |operations: &Option<HeaderOperations>, field: &'static str| {
        let at = at.field(field);
        operations
            .as_ref()
            .map(|operations| changes(operations, field == "request", &at, notes))
            .unwrap_or_default()
    };
    HeaderChanges {
        request: side(&written.request, "request"),
        response: side(&written.response, "response"),
    }
}

fn changes(written: &HeaderOperations, request: bool, at: &At<'_>, notes: &mut Notes) -> HeaderChange {
    let mut pairs = |pairs: &Texts, field: &'static str| {
        let at = at.field(field);
        let mut read = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let at = at.field(name);
            header_name(name, request, &at, notes);
            if value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
                notes.error(&at, "has a control character, which no header can carry");
            } else if value.replace("%%", "").contains('%') {
                notes.unserved(&at, "a variable of Envoy (%…%) is not served: it is sent as written");
            }
            read.push((name.to_ascii_lowercase(), value.clone()));
        }
        read
    };
    let (set, add) = (pairs(&written.set, "set"), pairs(&written.add, "add"));
    let at = at.field("remove");
    for (index, name) in written.remove.iter().enumerate() {
        header_name(name, false, &at.index(index), notes);
    }
    HeaderChange { set, add, remove: written.remove.iter().map(|name| name.to_ascii_lowercase()).collect() }
}

/// The authority may be set on requests; other pseudo headers never.
fn header_name(name: &str, authority: bool, at: &At<'_>, notes: &mut Notes) {
    let is_authority = name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority");
    if is_authority && authority {
        return;
    }
    if is_authority || name.starts_with(':') {
        notes.error(
            at,
            format!(
                "{name:?} cannot be changed here: for the authority of a request write rewrite.authority"
            ),
        );
    } else if !matches::is_header_name(name) {
        notes.error(
            at,
            format!("{name:?} is no header name: write letters, digits and '-', for example \"x-user\""),
        );
    }
}
