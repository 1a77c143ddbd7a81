//! What can go wrong between here and the API server, in words that say what to do.

use kube::client::UpgradeConnectionError;

/// Why a request has no answer, or no good one.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server said so.
    Refused { code: u16, reason: String, message: String },
    /// No server, or not the one that is meant.
    Unreachable(String),
    /// Who we are cannot even be said.
    Credentials(String),
    /// What came back makes no sense, or cannot be used.
    Other(String),
}

impl Trouble {
    /// The object, or its kind, is not there.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }

    /// Not allowed.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { code: 403, .. })
    }

    /// Another manager owns a field, or the object changed meanwhile.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }

    fn refused(status: kube::core::Status) -> Self {
        let mut message = status.message;
        for cause in status.details.into_iter().flat_map(|details| details.causes) {
            if !message.contains(&cause.message) || !message.contains(&cause.field) {
                message = format!("{message}\n  {} {}", cause.message, cause.field);
            }
        }
        Self::Refused { code: status.code, reason: status.reason, message }
    }

    /// For people.
    pub(super) fn tell(&self, context: &str, server: &str) -> String {
        match self {
            Self::Refused { code: 401, .. } => format!(
                "the API server {server} does not accept the credentials of context '{context}': they are wrong or have expired; \
                 log in again, or choose another: --context NAME"
            ),
            Self::Refused { code: 403, message, .. } => {
                format!("not allowed in context '{context}': {message}")
            }
            Self::Refused { code, reason, message } => match (message.as_str(), reason.as_str()) {
                ("", "") => format!("the API server {server} answers {code}"),
                ("", reason) => format!("the API server {server} answers {code} {reason}"),
                (message, _) => message.to_owned(),
            },
            Self::Unreachable(why) => format!(
                "the API server {server} of context '{context}' cannot be reached ({why}): does it run, and is it the one that is meant? \
                 Choose another: --context NAME"
            ),
            Self::Credentials(why) => {
                format!("the credentials of context '{context}' cannot be used: {why}")
            }
            Self::Other(why) => format!("the API server {server}: {why}"),
        }
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::refused(*status),
            kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => {
                Self::Refused { code: status.as_u16(), reason: String::new(), message: String::new() }
            }
            kube::Error::Auth(error) => Self::Credentials(chain(&error)),
            kube::Error::HyperError(error) => Self::Unreachable(chain(&error)),
            kube::Error::Service(error) => match error.downcast_ref::<kube::client::AuthError>() {
                Some(error) => Self::Credentials(chain(error)),
                None => Self::Unreachable(chain(&*error)),
            },
            other => Self::Other(chain(&other)),
        }
    }
}

/// An error and its causes; what repeats its cause is said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
