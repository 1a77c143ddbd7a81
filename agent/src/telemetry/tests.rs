//! Requests: what is counted and what is logged, and that both are exact.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, Uri, Version};
use heddle_core::identity::Identity;
use prometheus::Encoder;

use super::*;
use crate::http::RequestRecord;

struct Lines(Sender<String>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(String::from_utf8_lossy(bytes).into_owned()).unwrap();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn begin(direction: Direction) -> RequestRecord {
    let headers = HeaderMap::from_iter([
        ("content-type".parse().unwrap(), HeaderValue::from_static("application/grpc+proto")),
        ("user-agent".parse().unwrap(), HeaderValue::from_static("grpc/1")),
    ]);
    let uri = Uri::from_static("http://web/a?b");
    let mut record = RequestRecord::begin(direction, &Method::POST, &uri, Version::HTTP_2, &headers);
    record.source = Party::Identity(Identity::new("cluster.local", "shop", "client").unwrap());
    record.mutual_tls = true;
    record
}

fn metrics(telemetry: &Telemetry) -> String {
    let mut text = Vec::new();
    prometheus::TextEncoder::new().encode(&telemetry.registry().gather(), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_request_is_counted_and_logged() {
    let (sender, lines) = channel();
    let log = AccessLog::to(Lines(sender), IntCounter::new("lost", "lines").unwrap()).unwrap();
    let telemetry = Telemetry::new(Registry::new()).unwrap().logging_to(log);
    let worker = telemetry.worker();
    worker.configure(&MeshTraffic {
        access_log_format: Some(format::DEFAULT.trim_end().to_owned() + " %RESP(X-A)% %TRAILER(X-B)%"),
        ..MeshTraffic::default()
    });
    let mut record = begin(Direction::Inbound);
    record.attempts = 1;
    record.upstream = "10.0.0.1:80".parse().ok();
    (record.code, record.details, record.grpc_status) = (200, "via_upstream", Some(7));
    (record.received, record.sent) = (30, 600);
    let header = |name: &'static str| {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static("seen"))])
    };
    worker.capture_response(&mut record, &header("x-a"));
    worker.capture_trailers(&mut record, &header("x-b"));
    worker.request(&record);
    let text = metrics(&telemetry);
    for wanted in [
        "istio_requests_total{",
        "grpc_response_status=\"7\"",
        "request_protocol=\"grpc\"",
        "response_code=\"200\"",
        "response_flags=\"-\"",
        "reporter=\"destination\"",
        "connection_security_policy=\"mutual_tls\"",
        "source_principal=\"spiffe://cluster.local/ns/shop/sa/client\"",
        "destination_workload=\"unknown\"",
        "le=\"0.5\"",
        "le=\"3600000\"",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    assert!(text.lines().any(|line| line.starts_with("istio_response_bytes_sum{") && line.ends_with(" 600")));
    let line = lines.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(line.contains("\"POST /a?b HTTP/2\" 200 - via_upstream - \"-\" 30 600 "), "{line}");
    assert!(line.contains("\"grpc/1\" \"-\" \"web\" \"10.0.0.1:80\""), "{line}");
    assert!(line.ends_with(" seen seen\n"), "{line}");
}

#[test]
fn counts_are_exact_when_workers_count_at_once() {
    let telemetry = Telemetry::new(Registry::new()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let worker = telemetry.worker();
                for number in 0..1000 {
                    let mut record = begin(Direction::Outbound);
                    record.code = if number % 2 == 0 { 200 } else { 404 };
                    record.sent = 2;
                    worker.request(&record);
                }
            });
        }
    });
    let text = metrics(&telemetry);
    assert!(text.contains("connection_security_policy=\"unknown\""), "{text}");
    let ends = |name: &str, end: &str| {
        text.lines().filter(|line| line.starts_with(name) && line.ends_with(end)).count()
    };
    assert_eq!(ends("istio_requests_total{", " 2000"), 2, "{text}");
    assert_eq!(ends("istio_response_bytes_sum{", " 4000"), 2, "{text}");
    assert_eq!(ends("istio_request_duration_milliseconds_count{", " 2000"), 2, "{text}");
}

#[test]
fn the_format_follows_the_mesh_config_and_a_bad_one_changes_nothing() {
    let telemetry = Telemetry::new(Registry::new()).unwrap();
    let worker = telemetry.worker();
    let traffic = |json: bool, text: Option<&str>| MeshTraffic {
        access_log_json: json,
        access_log_format: text.map(str::to_owned),
        ..MeshTraffic::default()
    };
    let wanted = |worker: &WorkerTelemetry| worker.format().wanted.request.len();
    assert_eq!(wanted(&worker), 0);
    worker.configure(&traffic(false, Some("%REQ(A)%")));
    assert_eq!(wanted(&worker), 1);
    worker.configure(&traffic(false, Some("%NONSENSE%")));
    assert_eq!(wanted(&worker), 1);
    worker.configure(&traffic(true, None));
    assert_eq!(wanted(&worker), 0);
}

#[test]
fn an_access_log_that_the_mesh_does_not_want_gets_no_lines() {
    let (sender, lines) = channel();
    let log = AccessLog::to(Lines(sender), IntCounter::new("lost", "lines").unwrap()).unwrap();
    let worker = Telemetry::new(Registry::new()).unwrap().logging_to(log).worker();
    for (access_log_off, code) in [(true, 201), (false, 202)] {
        worker.configure(&MeshTraffic { access_log_off, ..MeshTraffic::default() });
        worker.request(&RequestRecord { code, ..begin(Direction::Outbound) });
    }
    let text = lines.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(text.contains(" 202 ") && !text.contains(" 201 "), "{text}");
}
