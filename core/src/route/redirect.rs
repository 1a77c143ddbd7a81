//! Redirects: the answer that names another place.

use http::StatusCode;

use super::matching::PathCondition;
use super::model::{Redirect, RedirectPort};
use super::request::RequestHead;
use super::rewrite::NewPath;

/// A redirect, parsed once.
#[derive(Clone, Debug)]
pub struct CompiledRedirect {
    scheme: Option<Box<str>>,
    authority: Option<Box<str>>,
    port: RedirectPort,
    path: Option<NewPath>,
    status: StatusCode,
    /// Of the Gateway API: a scheme alone brings its own port.
    gateway: bool,
}

impl CompiledRedirect {
    pub(super) fn compile(from: &Redirect, gateway: bool) -> Result<Self, String> {
        let status = match from.status {
            0 => StatusCode::MOVED_PERMANENTLY,
            code @ (301 | 302 | 303 | 307 | 308) => {
                StatusCode::from_u16(code).map_err(|error| error.to_string())?
            }
            code => return Err(format!("a redirect cannot answer {code}: use 301, 302, 303, 307 or 308")),
        };
        let nonempty =
            |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(Into::into);
        Ok(Self {
            scheme: nonempty(&from.scheme),
            authority: nonempty(&from.authority),
            port: from.port,
            path: from.path.as_ref().map(NewPath::compile).transpose()?,
            status,
            gateway,
        })
    }

    /// 301, 302, 303, 307 or 308.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn location(&self, head: &RequestHead<'_>, matched: &PathCondition) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(head.scheme);
        let authority = self.authority.as_deref().unwrap_or(head.authority);
        let (host, port) = split_port(authority);
        let explicit = match self.port {
            RedirectPort::Number(port) => Some(port),
            RedirectPort::Request => Some(head.port),
            RedirectPort::Protocol => None,
        };
        let port = match explicit {
            Some(port) => (Some(port) != well_known(scheme)).then_some(port),
            // An authority that the rule names is taken as it is.
            None if self.authority.is_some() => port,
            None if self.gateway && self.scheme.is_some() => None,
            None if scheme != head.scheme => port.filter(|port| Some(*port) != well_known(head.scheme)),
            None => port,
        };
        let path = self.path.as_ref().and_then(|path| path.apply(head.path, matched));
        let path = path.as_ref().unwrap_or(head.path.path_and_query());
        match port {
            Some(port) => format!("{scheme}://{host}:{port}{path}"),
            None => format!("{scheme}://{host}{path}"),
        }
    }
}

fn well_known(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// An authority without its port, and the port; brackets of an IPv6 address stay.
pub(super) fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(number)),
            _ if port.is_empty() => (host, None),
            _ => (authority, None),
        },
        _ => (authority, None),
    }
}
