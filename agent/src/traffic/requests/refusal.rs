//! Answers without the application, as Envoy words them.

use std::rc::Rc;

use http::{HeaderValue, Response, StatusCode};

use crate::http::Body;
use crate::http::Flags;
use crate::http::exchange::Exchange;
use crate::http::head;
use crate::http::local::Local;
use crate::http::record::RequestRecord;
use crate::telemetry::{Failure, Reason};

/// Why a request is not answered by the application.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Policy: with Envoy's details.
    Denied(String),
    /// It is none that could be judged.
    Bad(&'static str),
    /// There is no connection to the application.
    Connect(Failure),
    /// The connection ended before the answer began.
    Broken(Box<str>),
}

impl Refusal {
    /// Into the record, and as an answer; the exchange ends with the answer's last byte.
    pub(super) fn answer(self, exchange: &Rc<Exchange>) -> Response<Body> {
        let local = self.local(&mut exchange.record());
        let mut record = exchange.record();
        record.flags.add(local.flags);
        record.details = local.details;
        let response = local.into_response(record.grpc);
        record.code = response.status().as_u16();
        record.grpc_status = head::grpc_status(response.headers());
        drop(record);
        response
    }

    fn local(self, record: &mut RequestRecord) -> Local {
        match self {
            Self::Denied(details) => {
                record.rbac = Some(details.into());
                Local::new(
                    StatusCode::FORBIDDEN,
                    Flags::default(),
                    "rbac_access_denied",
                    "RBAC: access denied",
                )
            }
            Self::Bad(details) => Local::bad_request(details),
            Self::Connect(failure) => {
                let details = match failure.reason {
                    Reason::ConnectTimeout => "upstream_reset_before_response_started{connection_timeout}",
                    _ => "upstream_reset_before_response_started{remote_connection_failure}",
                };
                record.upstream_failure = Some(failure.to_string().into());
                let body = "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
                missed(Local::unavailable(Flags::UF, details, body), head::MISSED_CONNECT)
            }
            Self::Broken(why) => {
                record.upstream_failure = Some(why);
                let details = "upstream_reset_before_response_started{connection_termination}";
                let body = "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
                missed(Local::unavailable(Flags::UC, details, body), head::MISSED_RESET)
            }
        }
    }
}

/// The client's agent may send it elsewhere.
fn missed(mut local: Local, how: HeaderValue) -> Local {
    local.headers.insert(head::MISSED, how);
    local
}
