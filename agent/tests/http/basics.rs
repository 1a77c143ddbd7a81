//! Plain proxying: what arrives, what comes back, and what is refused.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use heddle_core::upstream::model::Protocol;

use crate::world::{World, eventually};
use crate::{Heads, app, ask, header, ok, read_answer, service, web};

#[test]
fn a_request_crosses_both_stages_and_its_answer_comes_back() {
    let world = World::new();
    service(&world, Protocol::Http);
    let heads = Heads::default();
    world.serve(8080, app(&heads, |_, body| Some(ok(&format!("hello {}", body.len())))));
    let mut stream = world.connect(web());
    let (head, body) = ask(
        &mut stream,
        "POST /a/../b?c=d HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
         traceparent: 00-1-2-01\r\n\r\nabc",
    );
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "hello 3");
    assert!(header(&head, "x-envoy-upstream-service-time").is_some(), "{head}");
    let seen = heads.lock().unwrap().remove(0);
    assert!(seen.starts_with("POST /b?c=d HTTP/1.1\r\n"), "{seen}");
    assert_eq!(header(&seen, "host"), Some("web"));
    assert_eq!(header(&seen, "x-hop"), None);
    assert_eq!(header(&seen, "x-envoy-attempt-count"), Some("1"));
    assert_eq!(header(&seen, "x-forwarded-proto"), Some("http"));
    assert_eq!(header(&seen, "traceparent"), Some("00-1-2-01"));
    assert_eq!(header(&seen, "x-request-id").map(str::len), Some(36));
}

#[test]
fn requests_in_a_row_share_one_connection_to_the_application() {
    let world = World::new();
    service(&world, Protocol::Http);
    let heads = Heads::default();
    world.serve(8080, app(&heads, |_, _| Some(ok("x"))));
    for _ in 0..3 {
        let mut stream = world.connect(web());
        for _ in 0..5 {
            assert_eq!(ask(&mut stream, "GET / HTTP/1.1\r\nHost: web\r\n\r\n").1, "x");
        }
    }
    assert_eq!(heads.lock().unwrap().len(), 15);
    assert_eq!(world.network.clients.lock().unwrap().len(), 1, "one connection to the application");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::new();
    service(&world, Protocol::Http);
    world.serve(8080, app(&Heads::default(), |head, _| Some(ok(head.split(' ').nth(1).unwrap()))));
    let mut stream = world.connect(web());
    let requests: String = (0..5).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: web\r\n\r\n")).collect();
    stream.write_all(requests.as_bytes()).unwrap();
    for number in 0..5 {
        assert_eq!(read_answer(&mut stream).1, format!("/{number}"));
    }
}

#[test]
fn http_1_0_needs_no_host_and_ends_with_its_answer() {
    let world = World::new();
    service(&world, Protocol::Http);
    let heads = Heads::default();
    world.serve(8080, app(&heads, |_, _| Some(ok("old"))));
    let mut stream = world.connect(web());
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("old"), "{answer}");
    assert_eq!(header(&heads.lock().unwrap()[0], "host"), Some("web.shop.svc.cluster.local"));
}

#[test]
fn an_undeclared_port_is_http_if_the_first_bytes_are() {
    let world = World::new();
    service(&world, Protocol::Unknown);
    let heads = Heads::default();
    world.serve(8080, app(&heads, |_, _| Some(ok("seen"))));
    let mut stream = world.connect(web());
    let (head, body) = ask(&mut stream, "GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(body, "seen");
    assert!(header(&head, "x-envoy-upstream-service-time").is_some(), "{head}");
    assert_eq!(world.network.clients.lock().unwrap().len(), 1, "the connection that was opened is used");
}

#[test]
fn an_undeclared_port_may_speak_first_or_speak_something_else() {
    let world = World::new();
    service(&world, Protocol::Unknown);
    world.serve(8080, |mut connection: TcpStream| {
        connection.write_all(b"220 ready\r\n").unwrap();
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).unwrap();
        connection.write_all(&rest).unwrap();
    });
    let mut stream = world.connect(web());
    let mut greeting = [0; 11];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
    stream.write_all(b"EHLO me\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut echo = String::new();
    stream.read_to_string(&mut echo).unwrap();
    assert_eq!(echo, "EHLO me\r\n");
}

#[test]
fn ambiguous_framing_is_answered_400_and_ends_the_connection() {
    let world = World::new();
    service(&world, Protocol::Http);
    let heads = Heads::default();
    world.serve(8080, app(&heads, |_, _| Some(ok("x"))));
    let bad = [
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "GET / HTTP/1.1\r\nHost: web\r\nHost: other\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: web\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\nHost: web\n\n",
        "GET http://other/ HTTP/1.1\r\nHost: web\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: web\r\n\r\n",
    ];
    for request in bad {
        let mut stream = world.connect(web());
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request:?}: {answer:?}");
    }
    assert!(heads.lock().unwrap().is_empty(), "none of them reached the application");
}

#[test]
fn a_websocket_upgrade_becomes_bytes_both_ways() {
    let world = World::new();
    service(&world, Protocol::Http);
    world.serve(8080, |connection: TcpStream| {
        let mut writer = connection.try_clone().unwrap();
        let mut reader = std::io::BufReader::new(connection);
        let (head, _) = crate::read_request(&mut reader).unwrap();
        assert_eq!(header(&head, "upgrade"), Some("websocket"));
        writer
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            )
            .unwrap();
        let mut byte = [0];
        while reader.read(&mut byte).unwrap_or(0) == 1 {
            writer.write_all(&[byte[0] + 1]).unwrap();
        }
    });
    let mut stream = world.connect(web());
    let upgrade = "GET /chat HTTP/1.1\r\nHost: web\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let (head, _) = ask(&mut stream, upgrade);
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    for _ in 0..3 {
        stream.write_all(b"a").unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    eventually("both live tables are empty", || world.client.live() == 0);
}
