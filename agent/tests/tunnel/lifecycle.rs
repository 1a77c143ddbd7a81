//! Pods that stop, workers that drain, certificates that end, and what metrics say afterwards.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_agent::telemetry::{Direction, Reason};
use heddle_agent::traffic::command::WorkerCommand;
use heddle_agent::traffic::limits::{Descriptors, Limits};
use heddle_core::mtls::MtlsMode;
use heddle_core::names::PodUid;
use heddle_core::workload::{LocalWorkload, Tunnel};

use crate::world::{
    Lifetime, PANICS, SERVER, World, address, ask, echo, eventually, limits, local, read_error, uri,
};

#[test]
fn connections_of_a_pod_that_stops_are_closed() {
    let world = World::new();
    let to = world.serve(80, echo);
    let mut stream = world.connect(to);
    assert_eq!(ask(&mut stream, "hello"), "hello");
    world.server.command(WorkerCommand::Stop(PodUid::new("server")));
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
    world.server.expect(Direction::Inbound, Reason::PodStopped, 1);
    eventually("its listeners are gone", || TcpStream::connect(world.server.tunnel).is_err());
}

#[test]
fn a_pod_that_leaves_the_mesh_loses_no_connection() {
    let world = World::new();
    let to = world.serve(80, echo);
    let mut before = world.connect(to);
    assert_eq!(ask(&mut before, "hello"), "hello");
    let left = LocalWorkload { enrolled: false, ..local("server", MtlsMode::Strict, &[]) };
    world.change(|store| store.put_local(left));
    assert_eq!(ask(&mut before, "not judged again"), "not judged again");
    assert_eq!(ask(&mut world.connect(to), "on its way"), "on its way");
    world.server.command(WorkerCommand::Release(PodUid::new("server")));
    assert_eq!(ask(&mut world.connect(to), "captured still"), "captured still");
    eventually("its listeners are gone", || TcpStream::connect(world.server.tunnel).is_err());
    assert_eq!(ask(&mut before, "not cut off"), "not cut off");
    // Back in, and by other rules.
    world.change(|store| store.put_local(local("server", MtlsMode::Strict, &["missing"])));
    assert_eq!(read_error(&mut before), Some(libc::ECONNRESET));
    world.server.expect(Direction::Inbound, Reason::Revoked, 1);
}

#[test]
fn a_drained_worker_lets_streams_finish_and_takes_no_new_ones() {
    let mut world = World::new();
    let to = world.serve(80, echo);
    let mut stream = world.connect(to);
    assert_eq!(ask(&mut stream, "hello"), "hello");
    world.server.command(WorkerCommand::Drain);
    eventually("its listeners are gone", || TcpStream::connect(world.server.tunnel).is_err());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ask(&mut stream, "not cut off"), "not cut off");
    assert_eq!(read_error(&mut world.connect(to)), Some(libc::ECONNRESET));
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    let start = Instant::now();
    world.server.workers.take().unwrap().join();
    assert!(start.elapsed() < Duration::from_secs(2), "it waited for {:?}", start.elapsed());
    assert_eq!(world.server.ended(Direction::Inbound, Reason::Drained), 0);
}

#[test]
fn what_does_not_finish_is_reset_at_the_drain_deadline() {
    let mut world = World::with(|| Limits { drain: Duration::from_millis(400), ..limits() });
    let to = world.serve(80, echo);
    let mut stream = world.connect(to);
    assert_eq!(ask(&mut stream, "hello"), "hello");
    world.client.command(WorkerCommand::Drain);
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
    world.client.workers.take().unwrap().join();
    assert_eq!(world.client.ended(Direction::Outbound, Reason::Drained), 1);
}

#[test]
fn a_tunnel_is_replaced_before_its_certificate_ends() {
    let world = World::new();
    let to = world.serve(80, echo);
    let short = world.authority.issue(&[&uri("client")], Lifetime::Ends(Duration::from_secs(3)));
    let certificates = &world.client.credentials.certificates;
    certificates.lock().unwrap().insert(PodUid::new("client"), Arc::new(short));
    let mut first = world.connect(to);
    assert_eq!(ask(&mut first, "hello"), "hello");
    let long = world.authority.issue(&[&uri("client")], Lifetime::Valid);
    certificates.lock().unwrap().insert(PodUid::new("client"), Arc::new(long));
    assert_eq!(ask(&mut world.connect(to), "same tunnel"), "same tunnel");
    assert_eq!(world.client.telemetry.tunnels("client"), 1);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(ask(&mut world.connect(to), "next tunnel"), "next tunnel");
    assert_eq!(world.client.telemetry.tunnels("client"), 2);
    assert_eq!(ask(&mut first, "still here"), "still here");
}

#[test]
fn an_idle_tunnel_is_closed() {
    let world = World::with(|| Limits { tunnel_idle: Duration::from_millis(300), ..limits() });
    let to = world.serve(80, echo);
    assert_eq!(ask(&mut world.connect(to), "hello"), "hello");
    std::thread::sleep(Duration::from_millis(900));
    assert_eq!(ask(&mut world.connect(to), "hello"), "hello");
    assert_eq!(world.client.telemetry.tunnels("client"), 2);
}

#[test]
fn connections_one_after_the_other_share_one_tunnel() {
    let world = World::new();
    let to = world.serve(80, echo);
    assert_eq!(ask(&mut world.connect(to), "hello"), "hello");
    eventually("the stream has ended", || world.server.live() == 0);
    for round in 0..10 {
        let text = format!("round {round}");
        assert_eq!(ask(&mut world.connect(to), &text), text);
    }
    assert_eq!(world.client.telemetry.tunnels("client"), 1);
}

#[test]
fn more_streams_than_one_connection_takes_open_another() {
    let world = World::new();
    let to = world.serve(80, echo);
    let mut streams: Vec<TcpStream> = (0..150).map(|_| world.connect(to)).collect();
    for stream in &mut streams {
        assert_eq!(ask(stream, "hello"), "hello");
    }
    assert_eq!(world.client.telemetry.tunnels("client"), 2);
    drop(streams);
    eventually("all have ended", || world.client.live() + world.server.live() == 0);
}

#[test]
fn a_workload_outside_the_mesh_is_dialled_in_clear() {
    let world = World::new();
    let to = world.serve(80, echo);
    world.change(|store| {
        let mut server = (**store.publish().workload_at(to.ip()).unwrap()).clone();
        server.tunnel = Tunnel::None;
        store.put_workload(server);
    });
    assert_eq!(ask(&mut world.connect(to), "clear"), "clear");
    assert_eq!(world.client.telemetry.tunnels("client"), 0);
}

#[test]
fn a_process_short_of_descriptors_sheds_and_recovers() {
    let world = World::with(|| Limits { descriptors: Descriptors::of(12), ..limits() });
    let to = world.serve(80, echo);
    let mut streams: Vec<TcpStream> = (0..20).map(|_| world.connect(to)).collect();
    let served = streams
        .iter_mut()
        .filter_map(|stream| {
            stream.write_all(b"x").ok()?;
            stream.read_exact(&mut [0; 1]).ok()
        })
        .count();
    assert!((1..20).contains(&served), "{served}");
    assert!(world.client.ended(Direction::Outbound, Reason::Descriptors) >= 1, "{}", world.client.endings());
    drop(streams);
    eventually("it serves again", || {
        let mut stream = world.connect(to);
        stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0; 1]).is_ok()
    });
}

#[test]
fn a_pod_over_its_limit_is_shed_alone() {
    let world = World::with(|| Limits { pod_connections: 5, ..limits() });
    let to = world.serve(80, echo);
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..4 {
        let mut stream = world.connect(to);
        assert_eq!(ask(&mut stream, "x"), "x");
        streams.push(stream);
    }
    let more: Vec<TcpStream> = (0..5).map(|_| world.connect(to)).collect();
    eventually(&format!("the rest is shed: {}", world.client.endings()), || {
        world.client.ended(Direction::Outbound, Reason::PodConnections) >= 1
    });
    drop(more);
    assert_eq!(ask(&mut streams[0], "still here"), "still here");
}

#[test]
fn both_reporters_count_one_connection_with_istios_labels() {
    let world = World::new();
    let to = world.serve(80, echo);
    let mut stream = world.connect(to);
    assert_eq!(ask(&mut stream, "12345"), "12345");
    drop(stream);
    eventually("both have ended", || world.client.live() + world.server.live() == 0);
    for (agent, reporter) in [(&world.client, "source"), (&world.server, "destination")] {
        let families = agent.telemetry.registry().gather();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).unwrap();
            assert_eq!(family.get_metric().len(), 1, "{name}");
            let metric = &family.get_metric()[0];
            let label = |name: &str| {
                metric.get_label().iter().find(|label| label.name() == name).unwrap().value().to_owned()
            };
            assert_eq!(label("reporter"), reporter);
            assert_eq!(label("source_principal"), uri("client"));
            assert_eq!(label("destination_principal"), uri("server"));
            assert_eq!(label("source_cluster"), "Kubernetes");
            assert_eq!(label("destination_workload"), "server");
            assert_eq!(label("connection_security_policy"), "mutual_tls");
            assert_eq!(label("request_protocol"), "tcp");
            assert_eq!(label("response_flags"), "-");
            metric.get_counter().get_value()
        };
        assert!((value("istio_tcp_connections_opened_total") - 1.0).abs() < 0.1);
        assert!((value("istio_tcp_connections_closed_total") - 1.0).abs() < 0.1);
        assert!((value("istio_tcp_received_bytes_total") - 5.0).abs() < 0.1);
        assert!((value("istio_tcp_sent_bytes_total") - 5.0).abs() < 0.1);
    }
}

#[test]
fn a_panic_ends_one_connection_and_no_other() {
    let world = World::new();
    let to = world.serve(80, echo);
    let mut honest = world.connect(to);
    assert_eq!(ask(&mut honest, "before"), "before");
    assert_eq!(read_error(&mut world.connect(address(SERVER, PANICS))), Some(libc::ECONNRESET));
    world.server.expect(Direction::Inbound, Reason::Abandoned, 1);
    assert_eq!(ask(&mut honest, "after"), "after");
    assert_eq!(ask(&mut world.connect(to), "new"), "new");
    assert_eq!(world.client.telemetry.tunnels("client"), 1);
}
