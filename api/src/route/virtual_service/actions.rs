//! What a rule does beside sending on: redirects, direct answers, rewrites, retries.

use base64::Engine;
use heddle_core::route::model::{DirectResponse, PathRewrite, Redirect, RedirectPort, Retries, Rewrite};

use super::port;
use super::schema::{DerivePort, HttpDirectResponse, HttpRedirect, HttpRetry, HttpRewrite};
use crate::duration;
use crate::report::{At, Notes};
use crate::route::regex;
use crate::strict::did_you_mean;

/// Envoy's conditions, of HTTP and of gRPC.
const CONDITIONS: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

pub(super) fn redirect(written: &HttpRedirect, at: &At<'_>, notes: &mut Notes) -> Redirect {
    let HttpRedirect { uri, authority, port: number, derive_port, scheme, redirect_code } = written;
    if uri.is_none() && authority.is_none() && scheme.is_none() && number.is_none() && derive_port.is_none() {
        notes.error(at, "names nothing to change: write at least one of uri, authority, scheme and port");
    }
    let status = redirect_code.unwrap_or(301);
    let right = [301, 302, 303, 307, 308].into_iter().find(|code| i64::from(*code) == status);
    if right.is_none() {
        notes.error(&at.field("redirectCode"), format!("is {status}: write 301, 302, 303, 307 or 308"));
    }
    if number.is_some() && derive_port.is_some() {
        notes.error(&at.field("derivePort"), "cannot stand beside port: remove one of them");
    }
    if let Some(scheme) = scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
        notes.error(&at.field("scheme"), format!("{scheme:?} is not allowed: write http or https"));
    }
    let port = match (number, derive_port) {
        (Some(number), _) => {
            port(*number, &at.field("port"), notes).map_or(RedirectPort::Protocol, RedirectPort::Number)
        }
        (None, Some(DerivePort::FromRequestPort)) => RedirectPort::Request,
        (None, _) => RedirectPort::Protocol,
    };
    let path = uri.as_ref().map(|uri| match uri.strip_prefix("%PREFIX()%") {
        Some(prefix) => PathRewrite::Matched(prefix.to_owned()),
        None => PathRewrite::Full(uri.clone()),
    });
    Redirect {
        scheme: scheme.clone(),
        authority: authority.clone(),
        port,
        path,
        status: right.unwrap_or(301),
    }
}

pub(super) fn direct_response(
    written: &HttpDirectResponse,
    at: &At<'_>,
    notes: &mut Notes,
) -> DirectResponse {
    let status = written.status.unwrap_or(0);
    let right = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
    if right.is_none() {
        let words = written.status.map_or("is required".to_owned(), |status| format!("is {status}"));
        notes.error(&at.field("status"), format!("{words}: write a status from 200 to 599"));
    }
    let body_at = at.field("body");
    let body = match written.body.as_ref().map(|body| (&body.string, &body.bytes)) {
        None | Some((None, None)) => Vec::new(),
        Some((Some(text), None)) => text.clone().into_bytes(),
        Some((None, Some(text))) => {
            base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_else(|error| {
                notes.error(
                    &body_at.field("bytes"),
                    format!("is not base64 ({error}): for a plain text write `string: …`"),
                );
                Vec::new()
            })
        }
        Some((Some(_), Some(_))) => {
            notes.error(&body_at, "has both string and bytes: keep one");
            Vec::new()
        }
    };
    if body.len() > 1 << 20 {
        notes.error(&body_at, format!("has {} bytes, {} is the most", body.len(), 1 << 20));
    } else if body.len() > 100 << 10 {
        notes.warning(
            &body_at,
            format!("has {} bytes: over 100 KiB each agent holds much for it", body.len()),
        );
    }
    DirectResponse { status: right.unwrap_or(503), body }
}

pub(super) fn rewrite(written: &HttpRewrite, at: &At<'_>, notes: &mut Notes) -> Rewrite {
    let HttpRewrite { uri, authority, uri_regex_rewrite } = written;
    let authority = authority.clone().filter(|authority| !authority.is_empty());
    let path = match (uri.as_ref().filter(|uri| !uri.is_empty()), uri_regex_rewrite) {
        (Some(_), Some(_)) => {
            notes.error(&at.field("uriRegexRewrite"), "cannot stand beside uri: remove one of them");
            None
        }
        (Some(uri), None) => Some(PathRewrite::Matched(uri.clone())),
        (None, Some(written)) => {
            let at = at.field("uriRegexRewrite");
            let (pattern, substitution) =
                (written.r#match.clone().unwrap_or_default(), written.rewrite.clone().unwrap_or_default());
            if pattern.is_empty() {
                notes.error(
                    &at.field("match"),
                    "is required: write the expression whose matches are replaced",
                );
            } else if regex::check(&pattern, &at.field("match"), notes) {
                references(&pattern, &substitution, &at.field("rewrite"), notes);
            }
            Some(PathRewrite::Regex { pattern, substitution })
        }
        (None, None) => None,
    };
    if path.is_none() && authority.is_none() && uri.is_none() {
        notes.error(at, "names nothing to rewrite: write uri, uriRegexRewrite or authority");
    }
    Rewrite { path, authority }
}

/// `\1` to `\9` must name groups that the expression has.
fn references(pattern: &str, substitution: &str, at: &At<'_>, notes: &mut Notes) {
    let groups = regex::groups(pattern);
    let mut bytes = substitution.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            continue;
        }
        match bytes.next() {
            Some(digit @ b'0'..=b'9') if usize::from(digit - b'0') > groups => {
                let digit = char::from(digit);
                notes.error(at, format!("names group \\{digit}, and the expression has {groups}"));
            }
            Some(b'0'..=b'9' | b'\\') => {}
            _ => {
                notes.error(at, "has a lone backslash: write \\1 to \\9 for groups, \\\\ for a backslash");
                return;
            }
        }
    }
}

pub(crate) fn retries(written: &HttpRetry, at: &At<'_>, notes: &mut Notes) -> Retries {
    let attempts_at = at.field("attempts");
    let attempts = written.attempts.unwrap_or(0);
    if !(0..=i64::from(i32::MAX)).contains(&attempts) {
        notes.error(&attempts_at, format!("is {attempts}, expected 0 (none) or more"));
    }
    let per_try_timeout =
        duration::istio_or_zero(written.per_try_timeout.as_deref(), &at.field("perTryTimeout"), notes);
    let retry_on = written.retry_on.clone().unwrap_or_default();
    if attempts == 0 && (per_try_timeout.is_some() || !retry_on.is_empty()) {
        notes.error(&attempts_at, "is 0, which switches retries off: write for example `attempts: 2`, or remove perTryTimeout and retryOn");
    }
    conditions(&retry_on, &at.field("retryOn"), notes);
    Retries {
        attempts: u32::try_from(attempts).unwrap_or(0),
        per_try_timeout: per_try_timeout.filter(|timeout| !timeout.is_zero()),
        retry_on,
        backoff: duration::istio(written.backoff.as_deref(), &at.field("backoff"), notes),
        least_backoff: None,
        remote_localities: written.retry_remote_localities,
        ignore_previous_hosts: written.retry_ignore_previous_hosts,
    }
}

/// `retryOn`: conditions and status codes, by comma.
fn conditions(written: &str, at: &At<'_>, notes: &mut Notes) {
    if written.is_empty() {
        return;
    }
    for condition in written.split(',').map(str::trim) {
        let is_status = condition.parse::<u16>().is_ok_and(|code| (100..=599).contains(&code));
        if !is_status && !CONDITIONS.contains(&condition) {
            let hint = did_you_mean(condition, CONDITIONS);
            notes.error(
                at,
                format!("{condition:?} is no condition for a retry: {hint}, or a status such as 503"),
            );
        }
    }
}
