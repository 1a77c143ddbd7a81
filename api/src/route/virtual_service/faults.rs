//! Faults to inject, and cross-origin requests.

use heddle_core::route::model::{Abort, Cors, Fault, Share, TextMatch};

use super::destinations::{share, whole_percent};
use super::matches;
use super::schema::{self, CorsPolicy, Delay, HttpFaultInjection, UnmatchedPreflights};
use crate::duration;
use crate::report::{At, Notes};
use crate::strict::did_you_mean;

/// gRPC's status codes, by number.
const GRPC: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const NO_SHARE: &str =
    "is not given, which means no request at all: write `percentage: {value: 100}` for all of them";

pub(super) fn fault(written: &HttpFaultInjection, at: &At<'_>, notes: &mut Notes) -> Option<Fault> {
    if written.delay.is_none() && written.abort.is_none() {
        notes.error(at, "names neither delay nor abort: write one, or remove the field");
        return None;
    }
    let delay = written.delay.as_ref().and_then(|written| delay(written, &at.field("delay"), notes));
    let abort = written.abort.as_ref().and_then(|written| abort(written, &at.field("abort"), notes));
    Some(Fault { delay, abort })
}

fn delay(written: &Delay, at: &At<'_>, notes: &mut Notes) -> Option<(Share, std::time::Duration)> {
    let percentage_at = at.field("percentage");
    let mut part = share(written.percentage.as_ref(), &percentage_at, notes);
    if let Some(percent) = written.percent {
        let old = whole_percent(percent, &at.field("percent"), "percentage", notes);
        part = part.or(old);
    }
    if written.percentage.is_none() && written.percent.is_none() {
        notes.warning(&percentage_at, NO_SHARE);
    }
    if written.exponential_delay.is_some() {
        notes.error(&at.field("exponentialDelay"), "is not implemented, in Istio neither: write fixedDelay");
    }
    let fixed_at = at.field("fixedDelay");
    if written.fixed_delay.is_none() {
        notes.error(&fixed_at, "is required: write for example `fixedDelay: 5s`");
    }
    Some((part.unwrap_or(Share(0)), duration::istio(written.fixed_delay.as_deref(), &fixed_at, notes)?))
}

fn abort(written: &schema::Abort, at: &At<'_>, notes: &mut Notes) -> Option<(Share, Abort)> {
    let percentage_at = at.field("percentage");
    let part = share(written.percentage.as_ref(), &percentage_at, notes);
    if written.percentage.is_none() {
        notes.warning(&percentage_at, NO_SHARE);
    }
    let answer = match (written.http_status, &written.grpc_status, &written.http2_error) {
        (Some(status), None, None) => {
            let right = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
            if right.is_none() {
                notes.error(&at.field("httpStatus"), format!("is {status}: write a status from 200 to 599"));
            }
            right.map(Abort::Http)
        }
        (None, Some(name), None) => {
            let code = GRPC.iter().position(|known| *known == name.as_str());
            if code.is_none() {
                let hint = did_you_mean(name, GRPC);
                notes.error(&at.field("grpcStatus"), format!("{name:?} is no status of gRPC: {hint}"));
            }
            code.and_then(|code| u16::try_from(code).ok()).map(Abort::Grpc)
        }
        (None, None, Some(_)) => {
            notes.error(
                &at.field("http2Error"),
                "is not implemented, in Istio neither: write httpStatus or grpcStatus",
            );
            None
        }
        (None, None, None) => {
            notes.error(
                &at.field("httpStatus"),
                "is required: write for example `httpStatus: 500`, or a grpcStatus",
            );
            None
        }
        _ => {
            notes.error(at, "names more than one of httpStatus, grpcStatus and http2Error: keep one");
            None
        }
    };
    Some((part.unwrap_or(Share(0)), answer?))
}

pub(super) fn cors(written: &CorsPolicy, at: &At<'_>, notes: &mut Notes) -> Cors {
    let mut allow_origins = Vec::new();
    let origins_at = at.field("allowOrigins");
    for (index, origin) in written.allow_origins.iter().enumerate() {
        let at = origins_at.index(index);
        match matches::text(origin, &at, notes) {
            Some(text) => allow_origins.push(text),
            None => notes.error(
                &at,
                "names none of exact, prefix and regex: write for example `exact: https://example.com`",
            ),
        }
    }
    if !written.allow_origin.is_empty() {
        let at = at.field("allowOrigin");
        notes.warning(&at, "is deprecated: write `allowOrigins: [{exact: …}]`");
        let old = written.allow_origin.iter();
        let any = || TextMatch::Regex(".*".to_owned());
        allow_origins
            .extend(old.map(|text| if text == "*" { any() } else { TextMatch::Exact(text.clone()) }));
    }
    let methods_at = at.field("allowMethods");
    for (index, method) in written.allow_methods.iter().enumerate() {
        if !matches::is_header_name(method) || method.starts_with(':') {
            notes.error(&methods_at.index(index), format!("{method:?} is no method: write for example GET"));
        }
    }
    for (field, names) in
        [("allowHeaders", &written.allow_headers), ("exposeHeaders", &written.expose_headers)]
    {
        let at = at.field(field);
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !matches::is_header_name(name)) {
            notes.error(
                &at.index(index),
                format!("{name:?} is no header name: write letters, digits and '-'"),
            );
        }
    }
    Cors {
        allow_origins,
        allow_methods: written.allow_methods.clone(),
        allow_headers: written.allow_headers.clone(),
        expose_headers: written.expose_headers.clone(),
        max_age: duration::istio_or_zero(written.max_age.as_deref(), &at.field("maxAge"), notes),
        allow_credentials: written.allow_credentials.unwrap_or(false),
        ignore_unmatched_preflights: written.unmatched_preflights == Some(UnmatchedPreflights::Ignore),
    }
}
