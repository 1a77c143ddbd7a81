//! Lines, to the letter.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::*;
use crate::http::RequestRecord;
use crate::telemetry::Direction;

fn connection() -> Entry<'static> {
    Entry {
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        received: 3,
        sent: 10,
        duration: Duration::from_millis(5),
        upstream: "10.244.1.27:9000".parse().ok(),
        cluster: Some("outbound|9000||echo.default.svc.cluster.local"),
        downstream_local: "10.96.0.7:9000".parse().ok(),
        downstream_remote: "10.244.1.23:35650".parse().ok(),
        ..Entry::default()
    }
}

/// A request that policy denied, as Istio's own documentation shows such a line.
fn line_of(format: &Format, change: impl FnOnce(&mut Entry<'_>, &mut RequestRecord)) -> String {
    let headers = HeaderMap::from_iter([
        (HeaderName::from_static("user-agent"), HeaderValue::from_static("curl/8.11.1")),
        (
            HeaderName::from_static("x-request-id"),
            HeaderValue::from_static("66146f25-bad9-438d-bbe8-c08ceb51be1e"),
        ),
        (HeaderName::from_static("host"), HeaderValue::from_static("probe:8000")),
    ]);
    let uri = Uri::from_static("/status/200?a=b");
    let mut record = RequestRecord::begin(Direction::Inbound, &Method::GET, &uri, Version::HTTP_11, &headers);
    record.code = 403;
    record.rbac = Some("rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]".into());
    let captured = |values: &[(&str, &'static str)], wanted: &[HeaderName]| -> Box<[Option<HeaderValue>]> {
        let find = |name: &HeaderName| values.iter().find(|(known, _)| name == known);
        wanted.iter().map(|name| find(name).map(|(_, value)| HeaderValue::from_static(value))).collect()
    };
    record.captured.response = captured(&[("x-kept", "a\"b")], &format.wanted.response);
    record.captured.trailers = captured(&[("grpc-message", "no")], &format.wanted.trailers);
    let mut entry = Entry {
        cluster: Some("inbound|8080||"),
        upstream: None,
        received: 0,
        sent: 19,
        route: Some("default"),
        ..connection()
    };
    change(&mut entry, &mut record);
    let mut line = String::new();
    format.render(&Entry { http: Some(&record), ..entry }, &mut line);
    line
}

fn text(format: &str) -> Format {
    Format::new(false, Some(format)).unwrap()
}

#[test]
fn a_connection_has_envoys_fields_in_envoys_order() {
    let mut line = String::new();
    Format::default().render(&connection(), &mut line);
    assert_eq!(
        line,
        "[2023-11-14T22:13:20.123Z] \"- - -\" 0 - - - \"-\" 3 10 5 - \"-\" \"-\" \"-\" \"-\" \
         \"10.244.1.27:9000\" outbound|9000||echo.default.svc.cluster.local - 10.96.0.7:9000 \
         10.244.1.23:35650 - -\n"
    );
}

#[test]
fn a_request_has_envoys_fields_in_envoys_order() {
    assert_eq!(
        line_of(&Format::default(), |_, _| {}),
        "[2023-11-14T22:13:20.123Z] \"GET /status/200?a=b HTTP/1.1\" 403 - \
         rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]] - \"-\" 0 19 5 - \"-\" \"curl/8.11.1\" \
         \"66146f25-bad9-438d-bbe8-c08ceb51be1e\" \"probe:8000\" \"-\" inbound|8080|| - 10.96.0.7:9000 \
         10.244.1.23:35650 - default\n"
    );
}

#[test]
fn json_has_istios_keys_with_numbers_and_nulls() {
    let line = line_of(&Format::new(true, None).unwrap(), |_, _| {});
    assert_eq!(
        line,
        "{\"authority\":\"probe:8000\",\"bytes_received\":0,\"bytes_sent\":19,\
         \"connection_termination_details\":null,\"downstream_local_address\":\"10.96.0.7:9000\",\
         \"downstream_remote_address\":\"10.244.1.23:35650\",\"duration\":5,\"method\":\"GET\",\
         \"path\":\"/status/200?a=b\",\"protocol\":\"HTTP/1.1\",\
         \"request_id\":\"66146f25-bad9-438d-bbe8-c08ceb51be1e\",\"requested_server_name\":null,\
         \"response_code\":403,\
         \"response_code_details\":\"rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]\",\
         \"response_flags\":\"-\",\"route_name\":\"default\",\"start_time\":\"2023-11-14T22:13:20.123Z\",\
         \"upstream_cluster\":\"inbound|8080||\",\"upstream_host\":null,\"upstream_local_address\":null,\
         \"upstream_service_time\":null,\"upstream_transport_failure_reason\":null,\
         \"user_agent\":\"curl/8.11.1\",\"x_forwarded_for\":null}\n"
    );
}

#[test]
fn operators_are_envoys() {
    let rows = [
        ("%REQ(X-NOT?:METHOD)%", "GET"),
        ("%REQ(USER-AGENT):4%", "curl"),
        ("%REQ(User-Agent?X):40%!", "curl/8.11.1!"),
        ("%REQ(X-NOT)%", "-"),
        ("%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/status/200"),
        ("%RESP(X-KEPT)%", "a\\\"b"),
        ("%TRAILER(GRPC-MESSAGE)%", "no"),
        ("%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%", "2023/11/14T22:13:20+0000 1700000000"),
        ("%START_TIME(%s.%3f %6f %f)%", "1700000000.123 123000 123000000"),
        ("%START_TIME(%b %e %a %q 100%%)%", "Nov 14 Tue %q 100%"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%", "10.244.1.23 9000"),
        ("%REQUEST_DURATION% %RESPONSE_DURATION%", "- -"),
        ("%GRPC_STATUS% %HOSTNAME% %FILTER_STATE(a:PLAIN)%", "- - -"),
        ("100%% %RESPONSE_CODE%", "100% 403"),
        ("nothing", "nothing"),
    ];
    for (format, wanted) in rows {
        assert_eq!(line_of(&text(format), |_, _| {}), format!("{wanted}\n"), "{format}");
    }
    let grpc = |_: &mut Entry<'_>, record: &mut RequestRecord| record.grpc_status = Some(7);
    assert_eq!(line_of(&text("%GRPC_STATUS% %GRPC_STATUS(NUMBER)%"), grpc), "PermissionDenied 7\n");
}

#[test]
fn what_is_no_format_says_why() {
    let rows = [
        ("%REQ(A", "does not end"),
        ("%REQ()%", "names no header"),
        ("%REQ%", "names no header"),
        ("%REQ(a b)%", "names no header"),
        ("%REQ(A):x%", "no number"),
        ("%REQ(A)b%", "behind its parentheses"),
        ("%NONSENSE%", "is not known"),
    ];
    for (format, why) in rows {
        let error = Format::new(false, Some(format)).unwrap_err().to_string();
        assert!(error.contains(why), "{format}: {error}");
    }
    assert!(Format::new(true, Some("[1]")).is_err());
    let custom = Format::new(true, Some("{\"b\": {\"code\": \"%RESPONSE_CODE%\"}, \"a\": \"x%PROTOCOL%\"}"));
    assert_eq!(line_of(&custom.unwrap(), |_, _| {}), "{\"a\":\"xHTTP/1.1\",\"b\":{\"code\":403}}\n");
}

#[test]
fn what_peers_write_cannot_forge_a_line() {
    let evil = |entry: &mut Entry<'_>, _: &mut RequestRecord| {
        entry.transport_failure = Some("evil\r\n[2023] \"x\"");
        entry.termination = Some("evil\r\n[2023] \"x\"");
    };
    let line = line_of(&Format::default(), evil);
    assert_eq!(line.matches('\n').count(), 1);
    assert!(line.contains("evil\\r\\n[2023]_\\\"x\\\" \"evil\\r\\n[2023] \\\"x\\\"\""), "{line}");
}
