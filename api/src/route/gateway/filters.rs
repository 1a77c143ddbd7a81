//! `filters`, of a rule and of a backend. One that is not known is never skipped: it breaks what it stands in.

use std::collections::HashSet;
use std::time::Duration;

use heddle_core::route::model::{
    Cors, HeaderChange, HeaderChanges, Mirror, PathRewrite, Redirect, RedirectPort, Rewrite, Share, TextMatch,
};

use super::backends;
use super::schema::{
    CorsFilter, Filter, HeaderFilter, MirrorFilter, PathModifier, PathModifierType, RedirectFilter,
    RewriteFilter,
};
use super::{Found, Scope};
use crate::names;
use crate::report::{At, Notes};
use crate::route::virtual_service::is_header_name;
use crate::strict::did_you_mean;

const TYPES: &[&str] = &[
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestMirror",
    "RequestRedirect",
    "URLRewrite",
    "CORS",
    "ExternalAuth",
    "ExtensionRef",
];

/// What all filters of a list do.
#[derive(Default)]
pub(super) struct Filtered {
    pub(super) headers: HeaderChanges,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) redirect: Option<Redirect>,
    pub(super) mirrors: Vec<Mirror>,
    pub(super) cors: Option<Cors>,
    pub(super) broken: Option<String>,
}

pub(super) fn read(
    written: &[Filter],
    one_prefix: bool,
    scope: &Scope<'_>,
    found: &mut Found,
    at: &At<'_>,
    notes: &mut Notes,
) -> Filtered {
    super::at_most(written.len(), 16, at, notes);
    let mut read = Filtered::default();
    let mut seen = HashSet::new();
    for (index, filter) in written.iter().enumerate() {
        let at = at.index(index);
        let kind = filter.r#type.as_deref().unwrap_or_default();
        shape(filter, kind, &at, notes);
        let repeats = matches!(kind, "RequestMirror" | "ExtensionRef");
        if !repeats && !seen.insert(kind) {
            notes.error(&at, format!("{kind} stands twice in the list: merge the two"));
        }
        if let Some(filter) = &filter.request_header_modifier {
            read.headers.request = header_change(filter, &at.field("requestHeaderModifier"), notes);
        }
        if let Some(filter) = &filter.response_header_modifier {
            read.headers.response = header_change(filter, &at.field("responseHeaderModifier"), notes);
        }
        if let Some(filter) = &filter.request_mirror {
            read.mirrors.push(mirror(filter, scope, found, &at.field("requestMirror"), notes));
        }
        if let Some(filter) = &filter.request_redirect {
            read.redirect = Some(redirect(filter, one_prefix, &at.field("requestRedirect"), notes));
        }
        if let Some(filter) = &filter.url_rewrite {
            read.rewrite = Some(rewrite(filter, one_prefix, &at.field("urlRewrite"), notes));
        }
        if let Some(filter) = &filter.cors {
            read.cors = Some(cors(filter, &at.field("cors"), notes));
        }
        if matches!(kind, "ExtensionRef" | "ExternalAuth") {
            let message = format!(
                "{kind} is not served: requests that it would apply to are answered 500; remove the filter"
            );
            notes.unserved(&at.field("type"), message);
            read.broken = Some(format!("filter {kind} is not served"));
        }
    }
    if read.redirect.is_some() && read.rewrite.is_some() {
        notes.error(
            at,
            "has RequestRedirect and URLRewrite: a request is either redirected or rewritten; remove one",
        );
    }
    read
}

/// The one part that belongs to the type, and no other.
fn shape(filter: &Filter, kind: &str, at: &At<'_>, notes: &mut Notes) {
    let type_at = at.field("type");
    if kind.is_empty() {
        notes.error(&type_at, format!("is required: write one of {}", TYPES.join(", ")));
        return;
    }
    if !TYPES.contains(&kind) {
        notes.error(&type_at, format!("{kind:?} is no filter: {}", did_you_mean(kind, TYPES)));
        return;
    }
    let parts = [
        ("RequestHeaderModifier", "requestHeaderModifier", filter.request_header_modifier.is_some()),
        ("ResponseHeaderModifier", "responseHeaderModifier", filter.response_header_modifier.is_some()),
        ("RequestMirror", "requestMirror", filter.request_mirror.is_some()),
        ("RequestRedirect", "requestRedirect", filter.request_redirect.is_some()),
        ("URLRewrite", "urlRewrite", filter.url_rewrite.is_some()),
        ("CORS", "cors", filter.cors.is_some()),
        ("ExternalAuth", "externalAuth", filter.external_auth.is_some()),
        ("ExtensionRef", "extensionRef", filter.extension_ref.is_some()),
    ];
    for (of, field, there) in parts {
        if of == kind && !there {
            notes.error(&at.field(field), format!("is required where the type is {kind}"));
        } else if of != kind && there {
            notes.error(
                &at.field(field),
                format!("belongs to the type {of}, and this filter is a {kind}: make it a filter of its own"),
            );
        }
    }
}

fn header_change(written: &HeaderFilter, at: &At<'_>, notes: &mut Notes) -> HeaderChange {
    let mut name = |name: &str, at: &At<'_>| {
        if !is_header_name(name) || name.starts_with(':') {
            notes.error(
                at,
                format!("{name:?} is no header name: write letters, digits and '-', for example \"x-user\""),
            );
        }
        name.to_ascii_lowercase()
    };
    let mut pairs = |field: &'static str, list: &[super::schema::Header]| {
        let at = at.field(field);
        let mut seen = HashSet::new();
        let mut read = Vec::with_capacity(list.len());
        for (index, header) in list.iter().enumerate() {
            let at = at.index(index);
            let name = name(header.name.as_deref().unwrap_or_default(), &at.field("name"));
            // Of equal names the first counts.
            if seen.insert(name.clone()) {
                read.push((name, header.value.clone().unwrap_or_default()));
            }
        }
        read
    };
    let (set, add) = (pairs("set", &written.set), pairs("add", &written.add));
    let at = at.field("remove");
    let remove =
        written.remove.iter().enumerate().map(|(index, text)| name(text, &at.index(index))).collect();
    HeaderChange { set, add, remove }
}

fn mirror(
    written: &MirrorFilter,
    scope: &Scope<'_>,
    found: &mut Found,
    at: &At<'_>,
    notes: &mut Notes,
) -> Mirror {
    let empty = super::schema::ObjectReference::default();
    let reference = written.backend_ref.as_ref().unwrap_or(&empty);
    let to = backends::reference(reference, scope, found, &at.field("backendRef"), notes);
    if written.percent.is_some() && written.fraction.is_some() {
        notes.error(&at.field("percent"), "cannot stand beside fraction: remove one of them");
    }
    let percent = written.percent.map(|percent| part(percent, 100, &at.field("percent"), notes));
    let fraction = written.fraction.as_ref().map(|fraction| {
        let at = at.field("fraction");
        let denominator = fraction.denominator.unwrap_or(100);
        if denominator < 1 {
            notes.error(&at.field("denominator"), format!("is {denominator}, expected 1 or more"));
        }
        part(fraction.numerator.unwrap_or(0), denominator.max(1), &at.field("numerator"), notes)
    });
    Mirror { to, share: percent.or(fraction).unwrap_or(Share::ALL) }
}

fn part(of: i64, whole: i64, at: &At<'_>, notes: &mut Notes) -> Share {
    if !(0..=whole).contains(&of) {
        notes.error(at, format!("is {of}, expected 0 to {whole}"));
        return Share(0);
    }
    let millionths = i128::from(of) * i128::from(Share::ALL.0) / i128::from(whole);
    Share(u32::try_from(millionths).unwrap_or(0))
}

fn redirect(written: &RedirectFilter, one_prefix: bool, at: &At<'_>, notes: &mut Notes) -> Redirect {
    if let Some(scheme) = written.scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
        notes.error(&at.field("scheme"), format!("{scheme:?} is not allowed: write http or https"));
    }
    let status = written.status_code.unwrap_or(302);
    let right = [301, 302, 303, 307, 308].into_iter().find(|code| i64::from(*code) == status);
    if right.is_none() {
        notes.error(&at.field("statusCode"), format!("is {status}: write 301, 302, 303, 307 or 308"));
    }
    let number = written.port.map(|port| (port, u16::try_from(port).ok().filter(|port| *port != 0)));
    if let Some((port, None)) = number {
        notes.error(&at.field("port"), format!("port {port} does not exist: write a port from 1 to 65535"));
    }
    let port = match (number.and_then(|(_, right)| right), &written.scheme) {
        (Some(port), _) => RedirectPort::Number(port),
        (None, Some(_)) => RedirectPort::Protocol,
        (None, None) => RedirectPort::Request,
    };
    Redirect {
        scheme: written.scheme.clone(),
        authority: hostname(written.hostname.as_deref(), at, notes),
        port,
        path: written.path.as_ref().and_then(|path| modifier(path, one_prefix, &at.field("path"), notes)),
        status: right.unwrap_or(302),
    }
}

fn rewrite(written: &RewriteFilter, one_prefix: bool, at: &At<'_>, notes: &mut Notes) -> Rewrite {
    Rewrite {
        path: written.path.as_ref().and_then(|path| modifier(path, one_prefix, &at.field("path"), notes)),
        authority: hostname(written.hostname.as_deref(), at, notes),
    }
}

fn hostname(written: Option<&str>, at: &At<'_>, notes: &mut Notes) -> Option<String> {
    let name = written?;
    if !names::is_dns_subdomain(name) {
        notes.error(&at.field("hostname"), format!("{name:?} is no host: {}", names::DNS_SUBDOMAIN));
    }
    Some(name.to_owned())
}

fn modifier(written: &PathModifier, one_prefix: bool, at: &At<'_>, notes: &mut Notes) -> Option<PathRewrite> {
    let PathModifier { r#type, replace_full_path, replace_prefix_match } = written;
    match (r#type, replace_full_path, replace_prefix_match) {
        (Some(PathModifierType::ReplaceFullPath), Some(path), None) => Some(PathRewrite::Full(path.clone())),
        (Some(PathModifierType::ReplacePrefixMatch), None, Some(path)) => {
            if !one_prefix {
                notes.error(
                    &at.field("replacePrefixMatch"),
                    "needs exactly one match in the rule, and that by PathPrefix: split the rule",
                );
            }
            Some(PathRewrite::Elements(path.clone()))
        }
        (None, ..) => {
            notes.error(&at.field("type"), "is required: write ReplaceFullPath or ReplacePrefixMatch");
            None
        }
        (Some(kind), ..) => {
            let field = if *kind == PathModifierType::ReplaceFullPath {
                "replaceFullPath"
            } else {
                "replacePrefixMatch"
            };
            notes.error(at, format!("the type wants {field}, and that alone"));
            None
        }
    }
}

fn cors(written: &CorsFilter, at: &At<'_>, notes: &mut Notes) -> Cors {
    let origins_at = at.field("allowOrigins");
    let origins = written.allow_origins.iter().enumerate();
    let allow_origins = origins.map(|(index, text)| origin(text, &origins_at.index(index), notes)).collect();
    for (field, list) in [
        ("allowOrigins", &written.allow_origins),
        ("allowMethods", &written.allow_methods),
        ("allowHeaders", &written.allow_headers),
        ("exposeHeaders", &written.expose_headers),
    ] {
        if list.len() > 1 && list.iter().any(|text| text == "*") {
            notes.error(&at.field(field), "\"*\" means all of them: nothing can stand beside it");
        }
        let plain = |text: &String| text == "*" || is_header_name(text) && !text.starts_with(':');
        if field != "allowOrigins" {
            for (index, text) in list.iter().enumerate().filter(|(_, text)| !plain(text)) {
                notes.error(
                    &at.field(field).index(index),
                    format!("{text:?} is no name: write letters, digits and '-'"),
                );
            }
        }
    }
    let seconds = written.max_age.unwrap_or(5);
    if seconds < 1 {
        notes.error(&at.field("maxAge"), format!("is {seconds}, expected 1 second or more"));
    }
    Cors {
        allow_origins,
        allow_methods: written.allow_methods.clone(),
        allow_headers: written.allow_headers.clone(),
        expose_headers: written.expose_headers.clone(),
        max_age: Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
        allow_credentials: written.allow_credentials.unwrap_or(false),
        ignore_unmatched_preflights: false,
    }
}

/// `*`, `https://example.com`, `https://*.example.com`.
fn origin(text: &str, at: &At<'_>, notes: &mut Notes) -> TextMatch {
    if text == "*" {
        return TextMatch::Regex(".*".to_owned());
    }
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.map(|rest| rest.rsplit_once(':').map_or(rest, |(host, _)| host));
    let right = host.is_some_and(|host| {
        let host = host.strip_prefix("*.").unwrap_or(host).to_ascii_lowercase();
        host == "*" || names::is_dns_subdomain(&host)
    });
    if !right {
        notes.error(
            at,
            format!("{text:?} is no origin: write \"*\", or a scheme and host such as https://*.example.com"),
        );
    }
    match text.split_once('*') {
        Some((before, after)) => {
            TextMatch::Regex(format!("{}.*{}", ::regex::escape(before), ::regex::escape(after)))
        }
        None => TextMatch::Exact(text.to_owned()),
    }
}
