//! Requests at the destination: what policy permits goes on, what it denies is answered 403, and both are counted.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use heddle_agent::telemetry::{Direction, Reason};
use heddle_core::policy::{RequestMatch, StringMatch};

use crate::http::{Web, deny, exact, head, methods_of, read_answer};
use crate::world::{eventually, read_error};

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: web\r\n\r\n")
}

fn closing(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
}

#[test]
fn tutorial_15_holds_through_the_tunnel_and_in_clear() {
    let web = Web::new();
    web.policy(methods_of("shop", &["GET", "POST"]));
    let allowed = web.send_tunnelled(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
    assert!(allowed.starts_with("HTTP/1.1 200") && allowed.ends_with("ok"), "{allowed}");
    let put = web.send_tunnelled(b"PUT / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
    assert!(put.starts_with("HTTP/1.1 403") && put.ends_with("RBAC: access denied"), "{put}");
    let lower = web.send_tunnelled(b"get / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
    assert!(!lower.contains("200"), "{lower}");
    // Nobody in particular is in no namespace.
    let plain = web.send(closing("GET", "/").as_bytes());
    assert!(plain.starts_with("HTTP/1.1 403") && plain.ends_with("RBAC: access denied"), "{plain}");
    web.policy(methods_of("trusted", &["GET", "POST"]));
    let other = web.send_tunnelled(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
    assert!(other.starts_with("HTTP/1.1 403"), "{other}");
    assert_eq!(web.lines(), ["GET / HTTP/1.1"], "the application got what was permitted and nothing else");
    let count =
        |code| web.metric("istio_requests_total", &[("reporter", "destination"), ("response_code", code)]);
    eventually("three requests were denied", || count("403") >= 3.0);
    assert_eq!(count("200"), 1.0);
    assert_eq!(
        web.metric("istio_tcp_connections_opened_total", &[("response_flags", "-")]),
        1.0,
        "the lower case one"
    );
}

#[test]
fn a_denied_request_leaves_its_connection_usable_and_a_policy_change_is_seen_by_the_next() {
    let web = Web::new();
    web.policy(deny(RequestMatch { paths: exact(&["/secret"]), ..RequestMatch::default() }));
    let mut stream = web.plain();
    for (path, code) in [("/", "200"), ("/secret", "403"), ("/secret?x", "403"), ("/", "200")] {
        stream.write_all(request("GET", path).as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{path}: {answer}");
    }
    web.policy(deny(RequestMatch { paths: exact(&["/"]), ..RequestMatch::default() }));
    for (path, code) in [("/", "403"), ("/secret", "200")] {
        stream.write_all(request("GET", path).as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{path}: {answer}");
    }
    assert_eq!(web.world.network.clients.lock().unwrap().len(), 1, "one connection to the application");
    // A policy about connections closes it.
    web.policy(heddle_core::policy::Policy::new(
        heddle_core::names::PolicyName::new("shop/nobody"),
        heddle_core::policy::Action::Allow,
        Box::new([]),
    ));
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
}

#[test]
fn where_policies_ask_of_requests_what_is_not_http_is_denied_soon() {
    let web = Web::serving(|_, mut stream| {
        stream.write_all(b"220 ready\r\n").unwrap();
        std::thread::sleep(std::time::Duration::from_secs(5));
    });
    web.policy(deny(RequestMatch { paths: exact(&["/secret"]), ..RequestMatch::default() }));
    // Who waits for the server to speak.
    let began = Instant::now();
    assert_eq!(read_error(&mut web.plain()), Some(libc::ECONNRESET));
    assert!(began.elapsed().as_secs() < 3);
    for bytes in
        [&b"EHLO me\r\n"[..], b"\x16\x03\x01\x02\x00\x01", b"GE", b"\0\0\0\0", b"get / HTTP/1.1\r\n\r\n"]
    {
        let mut stream = web.plain();
        stream.write_all(bytes).unwrap();
        assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET), "{}", bytes.escape_ascii());
    }
    assert!(web.world.network.clients.lock().unwrap().is_empty(), "something was dialled");
    web.world.server.expect(Direction::Plaintext, Reason::PolicyDenied, 6);
}

#[test]
fn heads_bodies_and_pipelines_pass_unchanged() {
    let web = Web::new();
    let text = "HEAD /h HTTP/1.1\r\nhost: web\r\n\r\n\
                POST /p HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\nhello\
                POST /c HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
                OPTIONS * HTTP/1.1\r\nhost: web\r\n\r\n\
                GET http://web/abs?q HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    let answers = web.send(text.as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 5, "{answers}");
    assert_eq!(
        web.lines(),
        [
            "HEAD /h HTTP/1.1",
            "POST /p HTTP/1.1",
            "POST /c HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "GET /abs?q HTTP/1.1"
        ]
    );
    let old = web.send(b"GET /old HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 200") || old.starts_with("HTTP/1.1 200"), "{old}");
    let expects = web.send(
        b"POST /e HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\nab",
    );
    assert!(expects.contains("HTTP/1.1 200"), "{expects}");
}

#[test]
fn an_upgrade_that_is_permitted_switches_and_a_policy_change_cuts_it() {
    let web = Web::serving(|seen, stream| {
        let mut write = stream.try_clone().unwrap();
        let mut read = BufReader::new(stream);
        let Some(head) = head(&mut read) else { return };
        seen.lock().unwrap().push(head);
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\nwelcome ";
        write.write_all(answer.as_bytes()).unwrap();
        let mut buffer = [0; 64];
        while let Ok(read) = read.read(&mut buffer) {
            if read == 0 || write.write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    });
    web.policy(deny(RequestMatch { paths: exact(&["/closed"]), ..RequestMatch::default() }));
    let upgrade = |stream: &mut TcpStream, path: &str| {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\nearly "
        );
        stream.write_all(head.as_bytes()).unwrap();
    };
    let mut denied = web.plain();
    upgrade(&mut denied, "/closed");
    assert!(read_answer(&mut denied).starts_with("HTTP/1.1 403"));
    let mut stream = web.plain();
    upgrade(&mut stream, "/chat");
    let answer = read_answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("upgrade: websocket"), "{answer}");
    stream.write_all(b"late").unwrap();
    let mut echoed = [0; 18];
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"welcome early late");
    assert!(web.seen.lock().unwrap()[0].to_lowercase().contains("connection: upgrade"));
    web.policy(deny(RequestMatch { paths: exact(&["/chat"]), ..RequestMatch::default() }));
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
}

#[test]
fn a_missing_application_is_503_and_a_broken_one_too() {
    let web = Web::serving(|_, stream| drop(stream));
    web.policy(deny(RequestMatch { paths: exact(&["/x"]), ..RequestMatch::default() }));
    let broken = web.send(closing("GET", "/").as_bytes());
    assert!(broken.starts_with("HTTP/1.1 503") && broken.contains("connection termination"), "{broken}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    web.world.network.route(web.world.server.plaintext, nobody);
    let gone = web.send(closing("GET", "/").as_bytes());
    assert!(gone.starts_with("HTTP/1.1 503") && gone.contains("remote connection failure"), "{gone}");
    let flags =
        |flags| web.metric("istio_requests_total", &[("response_code", "503"), ("response_flags", flags)]);
    eventually("both are counted", || flags("UC") + flags("UF") == 2.0);
}

#[test]
fn without_policies_first_bytes_show_requests_and_bytes_are_bytes() {
    let web = Web::new();
    assert!(web.send(closing("GET", "/").as_bytes()).starts_with("HTTP/1.1 200"));
    eventually("the request is counted", || web.metric("istio_requests_total", &[]) == 1.0);
    assert_eq!(web.metric("istio_tcp_connections_opened_total", &[]), 0.0);
    let mut stream = web.plain();
    stream.write_all(b"\x01\x02").unwrap();
    eventually("the connection is counted", || web.metric("istio_tcp_connections_opened_total", &[]) == 1.0);
    drop(stream);
    let head = web.seen.lock().unwrap()[0].to_lowercase();
    assert!(head.contains("x-request-id: ") && head.contains("x-forwarded-proto: http"), "{head}");
    assert!(!head.contains("x-forwarded-client-cert"), "{head}");
}

#[test]
fn nobody_says_who_the_client_is_but_the_tunnel() {
    let web = Web::new();
    web.policy(deny(RequestMatch { paths: exact(&["/x"]), ..RequestMatch::default() }));
    let forged = "GET / HTTP/1.1\r\nhost: web\r\nx-forwarded-client-cert: URI=spiffe://evil\r\nconnection: close\r\n\r\n";
    assert!(web.send(forged.as_bytes()).starts_with("HTTP/1.1 200"));
    assert!(web.send_tunnelled(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").contains("200"));
    let seen = web.seen.lock().unwrap();
    assert!(!seen[0].contains("evil"), "{}", seen[0]);
    let proven = "By=spiffe://cluster.local/ns/shop/sa/server;URI=spiffe://cluster.local/ns/shop/sa/client";
    assert!(seen[1].contains(proven), "{}", seen[1]);
}

#[test]
fn hosts_and_templates_are_judged_as_istio_does() {
    let web = Web::new();
    let hosts = exact(&["secret.example"]);
    web.policy(deny(RequestMatch { hosts, ..RequestMatch::default() }));
    let with = |host: &str| {
        let text = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        web.send(text.as_bytes())[9..12].to_owned()
    };
    for host in ["secret.example", "SECRET.example", "secret.example:80", "secret.example."] {
        assert_eq!(with(host), "403", "{host}");
    }
    assert_eq!(with("web"), "200");
    let paths = Box::new([StringMatch::Template("/items/{*}/price".into())]);
    web.policy(deny(RequestMatch { paths, ..RequestMatch::default() }));
    let get = |path: &str| web.send(closing("GET", path).as_bytes())[9..12].to_owned();
    assert_eq!(get("/items/1/price"), "403");
    assert_eq!(get("/items//1/./price?x=y"), "403");
    assert_eq!(get("/items/1/2/price"), "200");
}
