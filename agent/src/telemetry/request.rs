//! Requests, told once each: into metrics and the access log.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::format::Entry;
use super::http::{Answer, Measure};
use super::{Direction, Labels, Reporter, WorkerTelemetry};
use crate::http::RequestRecord;
use crate::http::record::Captured;

impl WorkerTelemetry {
    /// A request has ended.
    pub fn request(&self, record: &RequestRecord) {
        let duration = record.started.1.elapsed();
        let reporter = match record.direction {
            Direction::Outbound => Reporter::Source,
            Direction::Inbound | Direction::Plaintext => Reporter::Destination,
        };
        let labels = Labels {
            reporter,
            source: record.source.clone(),
            destination: record.destination.clone(),
            service: record.service.clone(),
            mutual_tls: record.mutual_tls,
        };
        // What is no status of gRPC counts as UNKNOWN, so that a peer cannot make series at will.
        let status = record.grpc_status.filter(|_| record.grpc);
        let status = status.map(|status| if status > 16 { 2 } else { status });
        let answer =
            Answer { grpc: record.grpc, code: record.code, grpc_status: status, flags: record.flags };
        self.http
            .pair(&labels)
            .count(answer, Measure { duration, received: record.received, sent: record.sent });
        if !self.logs() {
            return;
        }
        let proven = reporter == Reporter::Destination && record.mutual_tls;
        let entry = Entry {
            started: record.started.0,
            flags: record.flags.text(),
            termination: None,
            transport_failure: record.upstream_failure.as_deref(),
            received: record.received,
            sent: record.sent,
            duration,
            upstream: record.upstream,
            upstream_local: record.upstream_local,
            cluster: record.cluster.as_deref(),
            downstream_local: record.downstream_local,
            downstream_remote: record.downstream_remote,
            peer: record.source.identity().filter(|_| proven),
            own: record.destination.identity().filter(|_| proven),
            attempts: record.attempts,
            route: record.route.as_deref(),
            http: Some(record),
        };
        self.access_log.write(&self.format(), &entry);
    }

    /// The request's headers as they are forwarded.
    pub fn capture_request(&self, record: &mut RequestRecord, headers: &HeaderMap) {
        self.capture(record, headers, |captured| &mut captured.request, |wanted| &wanted.request);
    }

    /// The answer's headers.
    pub fn capture_response(&self, record: &mut RequestRecord, headers: &HeaderMap) {
        self.capture(record, headers, |captured| &mut captured.response, |wanted| &wanted.response);
    }

    /// The answer's trailers.
    pub fn capture_trailers(&self, record: &mut RequestRecord, trailers: &HeaderMap) {
        self.capture(record, trailers, |captured| &mut captured.trailers, |wanted| &wanted.trailers);
    }

    fn capture(
        &self,
        record: &mut RequestRecord,
        headers: &HeaderMap,
        part: fn(&mut Captured) -> &mut Box<[Option<HeaderValue>]>,
        wanted: fn(&super::format::Wanted) -> &[HeaderName],
    ) {
        let format = self.format.borrow();
        let names = wanted(&format.format.wanted);
        if !names.is_empty() && self.logs() {
            *part(&mut record.captured) = names.iter().map(|name| headers.get(name).cloned()).collect();
        }
    }
}
