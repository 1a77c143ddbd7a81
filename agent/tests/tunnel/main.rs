//! Outbound, tunnel and inbound together, over loopback: bytes, ends of connections, and refusals.
#![allow(clippy::unwrap_used, clippy::panic)]

mod authority;
mod bypass;
mod http;
mod http2;
mod lifecycle;
mod refusals;
mod requests;
mod world;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use heddle_agent::telemetry::{Direction, Reason};
use world::{World, address, ask, echo, eventually, read_error};

#[test]
fn a_request_crosses_the_tunnel_and_its_echo_comes_back() {
    let world = World::new();
    let to = world.serve(80, echo);
    let mut stream = world.connect(to);
    assert_eq!(ask(&mut stream, "hello"), "hello");
    assert_eq!(world.client.telemetry.tunnels("client"), 1);
    let own = stream.local_addr().unwrap();
    assert_eq!(*world.network.clients.lock().unwrap(), [own], "the application sees the real client");
}

#[test]
fn a_hundred_streams_at_once_share_one_handshake() {
    let world = World::new();
    let to = world.serve(80, echo);
    std::thread::scope(|scope| {
        for number in 0..100 {
            let world = &world;
            scope.spawn(move || {
                let mut stream = world.connect(to);
                for round in 0..20 {
                    let text = format!("{number}/{round}");
                    assert_eq!(ask(&mut stream, &text), text);
                }
            });
        }
    });
    assert_eq!(world.client.telemetry.tunnels("client"), 1);
    assert_eq!(world.server.telemetry.tunnels("server"), 1);
}

#[test]
fn a_server_may_speak_first() {
    let world = World::new();
    let to = world.serve(25, |mut connection: TcpStream| {
        connection.write_all(b"220 ready").unwrap();
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).unwrap();
    });
    let mut greeting = [0; 9];
    world.connect(to).read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ready");
}

#[test]
fn a_client_that_has_finished_sending_still_gets_its_answer() {
    let world = World::new();
    let to = world.serve(80, |mut connection: TcpStream| {
        let mut request = Vec::new();
        connection.read_to_end(&mut request).unwrap();
        connection.write_all(format!("{} bytes", request.len()).as_bytes()).unwrap();
    });
    let mut stream = world.connect(to);
    stream.write_all(&vec![7; 3_000_000]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "3000000 bytes");
}

#[test]
fn a_server_that_has_finished_sending_still_reads() {
    let (sender, receiver) = channel();
    let world = World::new();
    let to = world.serve(80, move |mut connection: TcpStream| {
        connection.write_all(b"bye").unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).unwrap();
        sender.send(rest).unwrap();
    });
    let mut stream = world.connect(to);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "bye");
    stream.write_all(b"still here").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receiver.recv_timeout(world::PATIENCE).unwrap(), b"still here");
    eventually("both live tables are empty", || world.client.live() + world.server.live() == 0);
}

fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_reset_by_the_server_reaches_the_client_as_a_reset() {
    let world = World::new();
    let to = world.serve(80, |mut connection: TcpStream| {
        connection.read_exact(&mut [0; 5]).unwrap();
        reset(&connection);
    });
    let mut stream = world.connect(to);
    stream.write_all(b"hello").unwrap();
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
    world.server.expect(Direction::Inbound, Reason::ServerReset, 1);
    world.client.expect(Direction::Outbound, Reason::ServerReset, 1);
}

#[test]
fn a_reset_by_the_client_reaches_the_server_as_a_reset() {
    let (sender, receiver) = channel();
    let world = World::new();
    let to = world.serve(80, move |mut connection: TcpStream| {
        connection.set_read_timeout(Some(world::PATIENCE)).unwrap();
        sender.send(read_error(&mut connection)).unwrap();
    });
    let mut stream = world.connect(to);
    stream.write_all(b"hello").unwrap();
    eventually("the stream is open", || world.server.live() == 1);
    reset(&stream);
    drop(stream);
    assert_eq!(receiver.recv_timeout(world::PATIENCE).unwrap(), Some(libc::ECONNRESET));
    world.client.expect(Direction::Outbound, Reason::ClientReset, 1);
    world.server.expect(Direction::Inbound, Reason::ClientReset, 1);
}

#[test]
fn nobody_listening_resets_the_client() {
    let world = World::new();
    let mut stream = world.connect(address(world::SERVER, 81));
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
    world.server.expect(Direction::Inbound, Reason::Connect, 1);
    world.client.expect(Direction::Outbound, Reason::TunnelRefused, 1);
}

#[test]
fn silence_after_a_half_close_is_bounded() {
    let world = World::new();
    let to = world.serve(80, |connection: TcpStream| {
        std::thread::sleep(Duration::from_secs(30));
        drop(connection);
    });
    let mut stream = world.connect(to);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
    eventually("both live tables are empty", || world.client.live() + world.server.live() == 0);
}

#[test]
fn a_reader_that_stops_stops_the_writer_and_loses_nothing() {
    const TOTAL: usize = 64 * 1024 * 1024;
    let (sender, receiver) = channel();
    let (resume, resumed) = channel::<()>();
    let resumed = std::sync::Mutex::new(resumed);
    let world = World::new();
    let to = world.serve(80, move |mut connection: TcpStream| {
        connection.read_exact(&mut [0; 1]).unwrap();
        resumed.lock().unwrap().recv().unwrap();
        let mut total = 1;
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(read) = connection.read(&mut buffer) {
            if read == 0 {
                break;
            }
            total += read;
        }
        sender.send(total).unwrap();
    });
    let mut stream = world.connect(to);
    stream.set_nonblocking(true).unwrap();
    let chunk = vec![1; 256 * 1024];
    let (mut written, mut stalled) = (0, 0);
    while stalled < 20 {
        match stream.write(&chunk) {
            Ok(count) => (written, stalled) = (written + count, 0),
            Err(_) => {
                stalled += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        assert!(written < TOTAL, "no back-pressure after {written} bytes");
    }
    println!("the writer stopped after {written} bytes");
    stream.set_nonblocking(false).unwrap();
    resume.send(()).unwrap();
    stream.write_all(&vec![1; TOTAL - written]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receiver.recv_timeout(Duration::from_secs(60)).unwrap(), TOTAL);
}

#[test]
fn streams_whose_readers_stop_do_not_starve_the_others() {
    let (sender, stopped) = channel();
    let sender = std::sync::Mutex::new(sender);
    let world = World::new();
    let stuck =
        world.serve(81, move |connection: TcpStream| sender.lock().unwrap().send(connection).unwrap());
    let to = world.serve(80, echo);
    let chunk = vec![1; 64 * 1024];
    // Each fills its stream's window and stops; they share a connection with the honest one.
    let full: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = world.connect(stuck);
            stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            while stream.write(&chunk).is_ok() {}
            stream
        })
        .collect();
    let mut honest = world.connect(to);
    let text = "x".repeat(100_000);
    for _ in 0..100 {
        let mut sending = honest.try_clone().unwrap();
        let copy = text.clone();
        let sent = std::thread::spawn(move || sending.write_all(copy.as_bytes()).unwrap());
        honest.read_exact(&mut vec![0; text.len()]).unwrap();
        sent.join().unwrap();
    }
    assert_eq!(world.client.telemetry.tunnels("client"), 1);
    drop((full, stopped));
}

#[test]
fn chatty_streams_survive_a_reader_that_pauses() {
    const STREAMS: usize = 80;
    const MESSAGES: usize = 300;
    let (sender, receiver) = channel();
    let sender = std::sync::Mutex::new(sender);
    let world = World::new();
    let to = world.serve(80, move |mut connection: TcpStream| {
        // A small buffer, so that what is not read stays in the agent.
        socket2::SockRef::from(&connection).set_recv_buffer_size(2048).unwrap();
        std::thread::sleep(Duration::from_secs(2));
        let mut all = Vec::new();
        drop(connection.read_to_end(&mut all));
        sender.lock().unwrap().send(all.len()).unwrap();
    });
    let mut streams: Vec<TcpStream> = (0..STREAMS).map(|_| world.connect(to)).collect();
    for _ in 0..MESSAGES {
        for stream in &mut streams {
            stream.write_all(b"x").unwrap();
        }
    }
    drop(streams);
    for _ in 0..STREAMS {
        assert_eq!(receiver.recv_timeout(world::PATIENCE).unwrap(), MESSAGES);
    }
}
