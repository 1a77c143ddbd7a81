//! How connections end: drained, idle, or with their pod; and what hostile clients may not keep open.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use heddle_agent::traffic::command::WorkerCommand;
use heddle_agent::traffic::limits::Limits;
use heddle_core::upstream::model::Protocol;

use crate::world::{World, limits};
use crate::{Heads, app, ask, bare_service, header, ok, read_answer, service, web};

#[test]
fn a_drained_agent_finishes_its_requests_and_ends_its_connections() {
    let mut world = World::new();
    bare_service(&world);
    world.serve(
        8080,
        app(&Heads::default(), |_, _| {
            std::thread::sleep(Duration::from_millis(400));
            Some(ok("done"))
        }),
    );
    let mut idle = world.connect(web());
    ask(&mut idle, "GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    let mut busy = world.connect(web());
    busy.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    world.client.command(WorkerCommand::Drain);
    let (head, body) = read_answer(&mut busy);
    assert_eq!((header(&head, "connection"), &*body), (Some("close"), "done"), "{head}");
    assert_eq!(busy.read(&mut [0]).unwrap(), 0);
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    let begun = Instant::now();
    world.client.workers.take().unwrap().join();
    assert!(begun.elapsed() < Duration::from_secs(2), "it waited for {:?}", begun.elapsed());
}

#[test]
fn an_idle_connection_ends_and_a_slow_head_is_cut() {
    let quick = || Limits {
        http_idle: Duration::from_millis(300),
        http_head: Duration::from_millis(300),
        ..limits()
    };
    let world = World::with(quick);
    service(&world, Protocol::Http);
    world.serve(8080, app(&Heads::default(), |_, _| Some(ok("x"))));
    let mut idle = world.connect(web());
    ask(&mut idle, "GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    let mut slow = world.connect(web());
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    let mut rest = Vec::new();
    drop(slow.read_to_end(&mut rest));
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let world = World::new();
    service(&world, Protocol::Http);
    let heads = Heads::default();
    world.serve(8080, app(&heads, |_, _| Some(ok("x"))));
    for (count, size) in [(1, 100_000), (200, 10)] {
        let mut stream = world.connect(web());
        let headers: String = (0..count).map(|at| format!("X-{at}: {}\r\n", "y".repeat(size))).collect();
        drop(stream.write_all(format!("GET / HTTP/1.1\r\nHost: web\r\n{headers}\r\n").as_bytes()));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(heads.lock().unwrap().is_empty());
}
