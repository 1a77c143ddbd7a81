//! Attempts to have one thing judged and another one forwarded.

use std::io::{Read, Write};
use std::time::Duration;

use heddle_core::policy::{RequestMatch, StringMatch};

use crate::http::{Web, deny, exact};
use crate::world::{SERVER, address};

/// In clear to the destination's agent, and from the client's application through both agents. What ends neither
/// connection is waited for as long as `patience`.
fn each_way_within(web: &Web, bytes: &[u8], patience: Duration) -> [String; 2] {
    [web.plain(), web.world.connect(address(SERVER, 80))].map(|mut stream| {
        stream.set_read_timeout(Some(patience)).unwrap();
        drop(stream.write_all(bytes));
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all));
        String::from_utf8_lossy(&all).into_owned()
    })
}

fn each_way(web: &Web, bytes: &[u8]) -> [String; 2] {
    each_way_within(web, bytes, Duration::from_secs(3))
}

/// A path as a server reads it that decodes, merges and resolves whatever it can.
fn read_by_a_server(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped =
            after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'\\', _) => {
                bytes.push(b'/');
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

pub(crate) fn no_admin() -> RequestMatch {
    let paths = [StringMatch::Exact("/admin".into()), StringMatch::Prefix("/admin/".into())].into();
    RequestMatch { paths, ..RequestMatch::default() }
}

/// What the application got is not what is denied, however a server reads it.
fn assert_not_served(web: &Web, attempt: &str) {
    for line in web.lines() {
        let path = line.split(' ').nth(1).unwrap_or_default();
        let read = read_by_a_server(path.strip_prefix("http://web").unwrap_or(path));
        assert!(read != "/admin" && !read.starts_with("/admin/"), "{attempt:?} got {line:?} served");
    }
    web.seen.lock().unwrap().clear();
}

#[test]
fn no_spelling_of_a_path_gets_around_a_policy() {
    let web = Web::new();
    web.policy(deny(no_admin()));
    let paths = [
        "/admin",
        "/admin/",
        "/admin/x",
        "/admin?x=/",
        "//admin",
        "///admin//x",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/.%2e/admin",
        "/x/..%2fadmin",
        "/x/%2e%2e%2fadmin",
        "/x%2f..%2fadmin",
        "/%61dmin",
        "/%61%64%6d%69%6e",
        "/%61Dmin/../admin",
        "/adm%69n",
        "/admin%2fx",
        "/admin%2Fx",
        "/admin%5cx",
        "\\admin",
        "/\\admin",
        "/x/..\\admin",
        "/x%5c..%5cadmin",
        "/../admin",
        "/../../admin",
        "/%2e/admin",
        "/admin/.",
        "/admin/..%2fadmin",
        "/x/y/../../admin",
        "/%2fadmin",
        "/%5cadmin",
        "/admin%00",
        "/admin%0a",
        "/admin%",
        "/admin%zz",
        "/%u0061dmin",
        "/admin#x",
        "http://web/admin",
        "http://web//x/../admin",
        "http://web:80/%61dmin",
        "HTTP://web/admin",
        "admin",
    ];
    for path in paths {
        for head in ["GET", "POST", "HEAD", "OPTIONS"] {
            let host = "host: web\r\n";
            let text = format!("{head} {path} HTTP/1.1\r\n{host}connection: close\r\n\r\n");
            for answer in each_way(&web, text.as_bytes()) {
                assert!(!answer.contains(" 200 ") || !web.lines().is_empty(), "{path}: {answer}");
            }
            assert_not_served(&web, path);
        }
    }
}

#[test]
fn what_is_another_path_is_forwarded_as_it_was_judged() {
    let web = Web::new();
    web.policy(deny(no_admin()));
    let rows = [
        ("/ADMIN", "/ADMIN"),
        ("/admin;x=y", "/admin;x=y"),
        ("/x;/../y", "/y"),
        ("/a%20b?c=%2e%2e/admin", "/a%20b?c=%2e%2e/admin"),
        ("/a//b/./c/../d", "/a/b/d"),
        ("/%7Euser/%41", "/~user/A"),
    ];
    for (sent, forwarded) in rows {
        let text = format!("GET {sent} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
        for answer in each_way(&web, text.as_bytes()) {
            assert!(answer.starts_with("HTTP/1.1 200"), "{sent}: {answer}");
        }
        let line = format!("GET {forwarded} HTTP/1.1");
        assert_eq!(web.lines(), [line.clone(), line], "{sent}");
        web.seen.lock().unwrap().clear();
    }
}

#[test]
fn no_spelling_of_a_method_or_a_host_gets_around_a_policy() {
    let web = Web::new();
    web.policy(deny(RequestMatch { methods: exact(&["POST"]), ..RequestMatch::default() }));
    for line in [
        "POST / HTTP/1.1",
        "POST  / HTTP/1.1",
        "POST\t/ HTTP/1.1",
        " POST / HTTP/1.1",
        "\r\nPOST / HTTP/1.1",
        "POST / HTTP/1.0",
    ] {
        for answer in each_way(&web, format!("{line}\r\nhost: web\r\nconnection: close\r\n\r\n").as_bytes()) {
            assert!(!answer.contains(" 200 "), "{line}: {answer}");
        }
        assert!(web.lines().is_empty(), "{line:?} was served");
    }
    web.policy(deny(RequestMatch { hosts: exact(&["secret"]), ..RequestMatch::default() }));
    let heads = [
        "GET / HTTP/1.1\r\nhost: secret",
        "GET / HTTP/1.1\r\nHOST: SECRET:80",
        "GET / HTTP/1.1\r\nhost: secret.",
        "GET / HTTP/1.1\r\nhost:\tsecret\t",
        "GET / HTTP/1.1\r\nhost: web\r\nhost: secret",
        "GET / HTTP/1.1\r\nhost: web, secret",
        "GET / HTTP/1.1\r\nhost: web@secret",
        "GET http://secret/ HTTP/1.1\r\nhost: web",
        "GET http://web/ HTTP/1.1\r\nhost: secret",
        "GET http://web@secret/ HTTP/1.1\r\nhost: web@secret",
        "GET / HTTP/1.1\r\nhost: web\r\n host: secret",
        "GET / HTTP/1.1\r\nhost : secret",
        "GET http://secret/ HTTP/1.0",
    ];
    for head in heads {
        for answer in each_way(&web, format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()) {
            assert!(!answer.contains(" 200 "), "{head}: {answer}");
        }
        let seen = web.seen.lock().unwrap();
        assert!(seen.is_empty(), "{head:?} was served: {seen:?}");
    }
    let other = "GET / HTTP/1.1\r\nhost: web\r\nx-forwarded-host: secret\r\nx-original-url: /\r\nconnection: host, close\r\n\r\n";
    for answer in each_way(&web, other.as_bytes()) {
        assert!(answer.contains(" 200 "), "{answer}");
    }
    assert!(web.seen.lock().unwrap().iter().all(|head| head.to_lowercase().contains("host: web\r\n")));
}

/// One request is judged, and a second one is hidden in it.
#[test]
fn nothing_is_smuggled() {
    let web = Web::new();
    web.policy(deny(no_admin()));
    let hidden = "GET /admin HTTP/1.1\r\nhost: web\r\n\r\n";
    let length = hidden.len();
    let chunked = format!("{length:x}\r\n{hidden}\r\n0\r\n\r\n");
    let heads = [
        format!("content-length: 0\r\ncontent-length: {length}"),
        format!("content-length: {length}\r\ncontent-length: 0"),
        format!("content-length: 0, {length}"),
        "content-length: 0\r\ntransfer-encoding: chunked".into(),
        "transfer-encoding: chunked\r\ncontent-length: 4".into(),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity".into(),
        "transfer-encoding: identity, chunked".into(),
        "transfer-encoding: chunked, identity".into(),
        "transfer-encoding: xchunked".into(),
        "transfer-encoding:\u{b}chunked".into(),
        "transfer-encoding : chunked".into(),
        "transfer-encoding: \"chunked\"".into(),
        " transfer-encoding: chunked".into(),
        "x: y\r\n transfer-encoding: chunked".into(),
        "x: y\ntransfer-encoding: chunked".into(),
        "x: y\rtransfer-encoding: chunked".into(),
        "content-length: +0".into(),
        "content-length: 0x0".into(),
        "content-length: -1".into(),
        format!("content-length: {length}\u{0}"),
        "content_length: 0\r\ntransfer_encoding: chunked".into(),
        "connection: content-length\r\ncontent-length: 0".into(),
        "connection: transfer-encoding\r\ntransfer-encoding: chunked".into(),
        "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAAP__".into(),
        "upgrade: websocket".into(),
        "expect: 100-continue\r\ncontent-length: 0".into(),
    ];
    let bodies = [
        hidden.to_owned(),
        chunked,
        format!("0\r\n\r\n{hidden}"),
        format!("1;x=\n{hidden}"),
        format!("1\n0\r\n\r\n{hidden}"),
    ];
    std::thread::scope(|scope| {
        for head in &heads {
            let (web, bodies) = (&web, &bodies);
            scope.spawn(move || {
                for body in bodies {
                    for line in ["POST / HTTP/1.1", "GET / HTTP/1.1", "POST / HTTP/1.0"] {
                        let text = format!("{line}\r\nhost: web\r\n{head}\r\n\r\n{body}");
                        each_way_within(web, text.as_bytes(), Duration::from_millis(300));
                    }
                }
            });
        }
    });
    assert!(!web.lines().is_empty(), "what is well framed was served");
    assert_not_served(&web, "one of them");
}
