//! Requests that do not arrive: sent again where that is safe, answered as Envoy does where it is not.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use heddle_core::route::model::Retries;
use heddle_core::store::{MeshFacts, MeshTraffic};

use crate::world::World;
use crate::{Heads, app, ask, bare_service, header, ok, read_request, web};

#[test]
fn nobody_listening_is_503_after_two_retries() {
    let world = World::new();
    bare_service(&world);
    let mut stream = world.connect(web());
    let (head, body) = ask(&mut stream, "GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
    assert!(body.starts_with("upstream connect error or disconnect/reset before headers."), "{body}");
}

#[test]
fn a_503_is_tried_again_where_the_mesh_says_so() {
    let world = World::new();
    bare_service(&world);
    let retries = Retries { attempts: 2, retry_on: "503".into(), ..Retries::default() };
    let traffic = MeshTraffic { retries: Some(retries), ..MeshTraffic::default() };
    world.change(|store| store.set_mesh(MeshFacts { traffic, ..MeshFacts::default() }));
    let (heads, count) = (Heads::default(), AtomicUsize::new(0));
    world.serve(
        8080,
        app(&heads, move |_, body| {
            Some(match count.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned(),
                _ => ok(std::str::from_utf8(body).unwrap()),
            })
        }),
    );
    let mut stream = world.connect(web());
    let (head, body) = ask(&mut stream, "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\nbody");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "body", "the body was sent again");
    let heads = heads.lock().unwrap();
    let attempts: Vec<_> = heads.iter().map(|head| header(head, "x-envoy-attempt-count").unwrap()).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
}

#[test]
fn a_connection_that_the_server_closed_meanwhile_fails_no_request() {
    let world = World::new();
    bare_service(&world);
    // Each connection answers one request and is closed behind the second, unanswered.
    world.serve(8080, |connection: TcpStream| {
        let mut writer = connection.try_clone().unwrap();
        let mut reader = BufReader::new(connection);
        if read_request(&mut reader).is_some() {
            writer.write_all(ok("once").as_bytes()).unwrap();
        }
        drop(read_request(&mut reader));
    });
    let mut stream = world.connect(web());
    for _ in 0..10 {
        let (head, body) = ask(&mut stream, "GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        assert_eq!(body, "once", "{head}");
    }
}

#[test]
fn what_may_not_be_repeated_is_not() {
    let world = World::new();
    bare_service(&world);
    let heads = Heads::default();
    world.serve(8080, app(&heads, |_, _| None));
    let mut stream = world.connect(web());
    let (head, _) = ask(&mut stream, "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\n\r\nx");
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(heads.lock().unwrap().len(), 1);
}
