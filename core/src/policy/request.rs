//! What policies ask of requests. Where there is doubt, the reading that denies counts.

use serde::{Deserialize, Serialize};

use super::template::Reading;
use super::{Action, StringMatch, holds, template};

/// AND of fields of a request, each an OR of values; an empty field says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestMatch {
    /// Methods.
    pub methods: Box<[StringMatch]>,
    /// None of these.
    pub not_methods: Box<[StringMatch]>,
    /// Canonical paths, without the query.
    pub paths: Box<[StringMatch]>,
    /// None of these.
    pub not_paths: Box<[StringMatch]>,
    /// Authorities as sent, compared without regard to case. What differs by a port alone still counts where it denies.
    pub hosts: Box<[StringMatch]>,
    /// None of these.
    pub not_hosts: Box<[StringMatch]>,
}

/// What policies are asked about a request, in the form in which it is forwarded.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// `:method`.
    pub method: &'a str,
    /// The canonical path, without its query.
    pub path: &'a str,
    /// `:authority`, with its port if there is one.
    pub host: &'a str,
}

impl RequestMatch {
    /// Whether it asks nothing.
    pub fn is_empty(&self) -> bool {
        let lists =
            [&self.methods, &self.not_methods, &self.paths, &self.not_paths, &self.hosts, &self.not_hosts];
        lists.iter().all(|list| list.is_empty())
    }

    /// To match too much denies under DENY, and to exclude too much denies under ALLOW: these read loosely.
    pub(super) fn matches(&self, request: &RequestFacts<'_>, action: Action) -> bool {
        let (positive, negative) = match action {
            Action::Deny => (Reading::Loose, Reading::Strict),
            Action::Allow => (Reading::Strict, Reading::Loose),
        };
        let path = |want: &StringMatch, reading| match want {
            StringMatch::Template(template) => template::matches(template, request.path, reading),
            other => other.matches(request.path),
        };
        holds(&self.methods, &self.not_methods, |want| want.matches(request.method))
            && holds(&self.paths, &[], |want| path(want, positive))
            && !self.not_paths.iter().any(|want| path(want, negative))
            && holds(&self.hosts, &[], |want| host(want, request.host, positive))
            && !self.not_hosts.iter().any(|want| host(want, request.host, negative))
    }
}

/// Istio compares the authority as it was sent; read loosely, it is also compared without its port and a final dot.
fn host(want: &StringMatch, host: &str, reading: Reading) -> bool {
    if same_but_case(want, host) {
        return true;
    }
    let bare = without_port(host);
    reading == Reading::Loose
        && [bare, bare.strip_suffix('.').unwrap_or(bare)].iter().any(|bare| same_but_case(want, bare))
}

fn same_but_case(want: &StringMatch, host: &str) -> bool {
    let (host, length) = (host.as_bytes(), host.len());
    match want {
        StringMatch::Exact(want) => host.eq_ignore_ascii_case(want.as_bytes()),
        StringMatch::Prefix(want) => {
            host.get(..want.len()).is_some_and(|start| start.eq_ignore_ascii_case(want.as_bytes()))
        }
        StringMatch::Suffix(want) => length
            .checked_sub(want.len())
            .is_some_and(|from| host[from..].eq_ignore_ascii_case(want.as_bytes())),
        StringMatch::Presence => length > 0,
        StringMatch::Template(_) => false,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((bare, port)) if !bare.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => bare,
        _ => host,
    }
}
