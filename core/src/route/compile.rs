//! From one routing object to rules that are ready for use. What cannot be used breaks its rule, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::cors::CompiledCors;
use super::delegate::FlatRule;
use super::headers::HeaderOps;
use super::matching::CompiledMatch;
use super::model::{Backend, BackendRef, HttpAction, HttpMatch, HttpRule, Retries};
use super::redirect::CompiledRedirect;
use super::rewrite::CompiledRewrite;
use super::rule::{Action, CompiledBackend, CompiledRule, Family, Forward};
use super::tables::Problem;

/// On what Istio retries where nobody says otherwise.
pub const DEFAULT_RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
/// How often it does.
pub const DEFAULT_ATTEMPTS: u32 = 2;

/// The retries in force: those of a rule, else of the mesh, else Istio's.
pub fn effective_retries(rule: Option<&Retries>, mesh: Option<&Retries>) -> Retries {
    let default = || Retries { attempts: DEFAULT_ATTEMPTS, ..Retries::default() };
    let mut retries = rule.or(mesh).cloned().unwrap_or_else(default);
    if retries.retry_on.trim().is_empty() {
        let mesh = mesh.map(|mesh| mesh.retry_on.as_str()).filter(|conditions| !conditions.trim().is_empty());
        mesh.unwrap_or(DEFAULT_RETRY_ON).clone_into(&mut retries.retry_on);
    }
    retries.per_try_timeout = retries.per_try_timeout.filter(|timeout| *timeout > Duration::ZERO);
    retries
}

/// Compiles one rule.
pub(super) fn rule(
    flat: &FlatRule<'_>,
    family: Family,
    mesh: Option<&Retries>,
    problems: &mut Vec<Problem>,
) -> CompiledRule {
    let from = &*flat.rule;
    let mut warnings = Vec::new();
    let mut broken = from.broken.clone();
    let mut keep = |error: String| broken.get_or_insert(error).len();
    let rewrite = from.rewrite.as_ref().and_then(|new| CompiledRewrite::compile(new).map_err(&mut keep).ok());
    let cors =
        from.cors.as_ref().map(|cors| CompiledCors::compile(cors, family == Family::Gateway, &mut warnings));
    let cors = cors.and_then(|cors| cors.map_err(&mut keep).ok());
    let action = action(from, family, &mut warnings).map_err(&mut keep).ok();
    let name = from.name.as_str().into();
    let matches = matches(from, &name, &mut warnings);
    let request_headers = HeaderOps::compile(&from.headers.request, &mut warnings);
    let response_headers = HeaderOps::compile(&from.headers.response, &mut warnings);
    if let Some(why) = &broken {
        warnings.push(format!("{why}: requests of this rule are answered 500"));
    }
    problems.extend(warnings.into_iter().map(|message| Problem {
        source: flat.source.clone(),
        rule: Some(flat.index),
        message,
    }));
    let action = match (broken, action) {
        (None, Some(action)) => action,
        (why, _) => Action::Broken(why.unwrap_or_default().into()),
    };
    CompiledRule {
        source: flat.source.clone(),
        root: flat.root.cloned(),
        index: flat.index,
        name,
        family,
        matches,
        action,
        rewrite,
        timeout: from.timeout.filter(|timeout| *timeout > Duration::ZERO),
        retries: Arc::new(effective_retries(from.retries.as_ref(), mesh)),
        fault: from.fault.clone(),
        mirrors: from.mirrors.as_slice().into(),
        cors,
        request_headers,
        response_headers,
    }
}

fn matches(from: &HttpRule, name: &Arc<str>, warnings: &mut Vec<String>) -> Box<[CompiledMatch]> {
    if from.matches.is_empty() {
        return [CompiledMatch::compile(&HttpMatch::default(), name)].into();
    }
    let matches: Box<[_]> = from.matches.iter().map(|each| CompiledMatch::compile(each, name)).collect();
    for (index, each) in matches.iter().enumerate() {
        if let Some(why) = &each.broken {
            warnings.push(format!("match {index}: {why}; this match matches nothing"));
        }
    }
    matches
}

fn action(from: &HttpRule, family: Family, warnings: &mut Vec<String>) -> Result<Action, String> {
    Ok(match &from.action {
        HttpAction::Forward(backends) => Action::Forward(forward(backends, family, warnings)),
        HttpAction::Redirect(redirect) => {
            Action::Redirect(CompiledRedirect::compile(redirect, family == Family::Gateway)?)
        }
        HttpAction::Respond(answer) => Action::Respond {
            status: StatusCode::from_u16(answer.status)
                .map_err(|_invalid| format!("{} is no status that can be answered", answer.status))?,
            body: Bytes::from(answer.body.clone()),
        },
        HttpAction::Delegate { namespace, name } => {
            return Err(format!("VirtualService {namespace}/{name} cannot be delegated to from here"));
        }
    })
}

/// Weighted backends.
pub(super) fn forward(from: &[Backend], family: Family, warnings: &mut Vec<String>) -> Forward {
    let mut backends: Box<[_]> = from.iter().map(|each| backend(each, family, warnings)).collect();
    if let ([only], Family::Istio) = (&mut *backends, family) {
        // Istio does not ask for the weight of an only destination.
        only.weight = only.weight.max(1);
    }
    Forward::new(backends, family)
}

fn backend(from: &Backend, family: Family, warnings: &mut Vec<String>) -> CompiledBackend {
    let mut to = from.to.clone();
    let mut broken = |why: String| {
        warnings.push(format!("{why}: requests of this backend are answered 500"));
        to = BackendRef::Invalid(why);
    };
    let rewrite = from.rewrite.as_ref().map(CompiledRewrite::compile);
    let rewrite = rewrite.and_then(|rewrite| rewrite.map_err(&mut broken).ok());
    let redirect = from.redirect.as_ref();
    let redirect = redirect.map(|redirect| CompiledRedirect::compile(redirect, family == Family::Gateway));
    let redirect = redirect.and_then(|redirect| redirect.map_err(&mut broken).ok());
    CompiledBackend {
        to,
        weight: from.weight,
        request_headers: HeaderOps::compile(&from.headers.request, warnings),
        response_headers: HeaderOps::compile(&from.headers.response, warnings),
        rewrite,
        mirrors: from.mirrors.as_slice().into(),
        redirect,
    }
}
