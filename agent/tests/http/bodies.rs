//! Bodies: large ones, unbounded ones, none, and answers that come early.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use heddle_core::upstream::model::Protocol;

use crate::world::World;
use crate::{Heads, app, ask, header, ok, read_answer, read_request, service, web};

#[test]
fn a_large_body_is_streamed_both_ways() {
    const SIZE: usize = 32 * 1024 * 1024;
    let world = World::new();
    service(&world, Protocol::Http);
    world.serve(8080, |connection: TcpStream| {
        let mut writer = connection.try_clone().unwrap();
        let mut reader = BufReader::new(connection);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            std::io::BufRead::read_line(&mut reader, &mut head).unwrap();
        }
        writer.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes()).unwrap();
        // An echo that answers while it reads.
        let mut buffer = vec![0; 64 * 1024];
        let mut left = SIZE;
        while left > 0 {
            let read = reader.read(&mut buffer).unwrap();
            writer.write_all(&buffer[..read]).unwrap();
            left -= read;
        }
    });
    let mut stream = world.connect(web());
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {SIZE}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut sending = stream.try_clone().unwrap();
    let sent = std::thread::spawn(move || {
        let chunk = vec![42; 64 * 1024];
        (0..SIZE / chunk.len()).for_each(|_| sending.write_all(&chunk).unwrap());
    });
    let (head, body) = read_answer(&mut stream);
    sent.join().unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(body.len() == SIZE && body.bytes().all(|byte| byte == 42));
}

#[test]
fn chunks_and_trailers_cross() {
    let world = World::new();
    service(&world, Protocol::Http);
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    world.serve(8080, move |mut connection: TcpStream| {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(b"x-end: 1\r\n\r\n") {
            assert_eq!(connection.read(&mut byte).unwrap(), 1);
            seen.push(byte[0]);
        }
        sender.lock().unwrap().send(String::from_utf8(seen).unwrap()).unwrap();
        connection
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-after\r\n\r\n3\r\nabc\r\n0\r\nx-after: 2\r\n\r\n")
            .unwrap();
        drop(connection.read(&mut byte));
    });
    let mut stream = world.connect(web());
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nHost: web\r\nTE: trailers\r\nTrailer: x-end\r\nTransfer-Encoding: chunked\r\n\r\n\
              5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n",
        )
        .unwrap();
    let seen = receiver.recv_timeout(crate::world::PATIENCE).unwrap();
    assert!(seen.contains("hello"), "{seen}");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"x-after: 2\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
        answer.push(byte[0]);
    }
}

#[test]
fn a_head_request_keeps_the_length_and_has_no_body() {
    let world = World::new();
    service(&world, Protocol::Http);
    world.serve(
        8080,
        app(&Heads::default(), |head, _| {
            Some(match head.starts_with("HEAD") {
                true => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_owned(),
                false => ok("x"),
            })
        }),
    );
    let mut stream = world.connect(web());
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: web\r\n\r\nGET / HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
    let mut first = Vec::new();
    let mut byte = [0];
    while !first.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1);
        first.push(byte[0]);
    }
    let first = String::from_utf8(first).unwrap();
    assert_eq!(header(&first, "content-length"), Some("1000"));
    assert_eq!(read_answer(&mut stream).1, "x");
}

#[test]
fn whoever_expects_100_gets_it_before_it_sends() {
    let world = World::new();
    service(&world, Protocol::Http);
    let heads = Heads::default();
    world.serve(8080, app(&heads, |_, body| Some(ok(std::str::from_utf8(body).unwrap()))));
    let mut stream = world.connect(web());
    let (head, _) =
        ask(&mut stream, "POST / HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 100 Continue\r\n"), "{head}");
    stream.write_all(b"hello").unwrap();
    assert_eq!(read_answer(&mut stream).1, "hello");
}

#[test]
fn an_answer_may_come_before_the_request_has_ended() {
    let world = World::new();
    service(&world, Protocol::Http);
    world.serve(8080, |connection: TcpStream| {
        let mut writer = connection.try_clone().unwrap();
        let mut reader = BufReader::new(connection);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            std::io::BufRead::read_line(&mut reader, &mut head).unwrap();
        }
        let answer = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig";
        writer.write_all(answer.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    });
    let mut stream = world.connect(web());
    stream.write_all(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000\r\n\r\nsome").unwrap();
    let (head, body) = read_answer(&mut stream);
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    assert_eq!(body, "big");
}

#[test]
fn a_body_without_an_end_flows_until_its_client_leaves() {
    let world = World::new();
    service(&world, Protocol::Http);
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    world.serve(8080, move |connection: TcpStream| {
        let mut writer = connection.try_clone().unwrap();
        drop(read_request(&mut BufReader::new(connection)));
        writer.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        while writer.write_all(b"4\r\ntick\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
        sender.lock().unwrap().send(()).unwrap();
    });
    let mut stream = world.connect(web());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
    let mut ticks = vec![0; 2000];
    stream.read_exact(&mut ticks).unwrap();
    drop(stream);
    receiver.recv_timeout(crate::world::PATIENCE).expect("the server is told");
}
