//! The datapath against the real kernel: two pods, a node, and this process in the part of the agent. Needs root.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "datapath/full.rs"]
mod full;
#[path = "datapath/lab.rs"]
mod lab;
#[path = "datapath/removal.rs"]
mod removal;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use heddle_agent::datapath::{Datapath, DatapathError, Purpose, WorkerCommand};
use heddle_agent::traffic::network::PodNetwork;
use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use heddle_core::names::OrigDst;
use lab::{Lab, accept, at, connect, inside, ip, listen};

#[test]
fn a_captured_connect_comes_to_the_agent_and_shows_the_client_what_it_dialled() {
    let mut lab = Lab::new();
    let (client, server) = (lab.pod(1), lab.pod(2));
    lab.start_agent();
    let listeners = lab.enrol(&client, MtlsMode::Permissive);
    let sockets = lab.agent().datapath.sockets();

    let mapped = IpAddr::V6(Ipv4Addr::new(10, 77, 2, 2).to_ipv6_mapped());
    for (dialled, own) in [(server.v4, client.v4), (server.v6, client.v6), (mapped, client.v4)] {
        let dialled = SocketAddr::new(dialled, 8080);
        let stream = connect(&client.netns, dialled).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), dialled, "getpeername");
        let (_held, from) = accept(at(&listeners.outbound, own)).expect("capture");
        let plain = SocketAddr::new(dialled.ip().to_canonical(), 8080);
        assert_eq!(sockets.original_destination(&listeners.pod, from), Some(OrigDst(plain)));
        assert_eq!(sockets.original_destination(&listeners.pod, from), None, "taken once");
    }
    // Nothing else is captured: not what stays in the pod, not a pod that is not enrolled.
    let own = listen(&client.netns, "127.0.0.1:9000".parse().unwrap());
    connect(&client.netns, own.local_addr().unwrap()).unwrap();
    let other = listen(&client.netns, SocketAddr::new(client.v4, 8080));
    connect(&server.netns, SocketAddr::new(client.v4, 8080)).unwrap();
    assert!(accept(at(&listeners.plaintext, client.v4)).is_some());
    drop(other);
}

#[test]
fn inbound_connections_are_steered_and_the_agents_ports_admit_nobody_else() {
    let mut lab = Lab::new();
    let (server, client) = (lab.pod(1), lab.pod(2));
    lab.start_agent();
    let application = listen(&server.netns, SocketAddr::new(server.v4, 8080));
    let listeners = lab.enrol(&server, MtlsMode::Permissive);

    for ip in [server.v4, server.v6] {
        let dialled = SocketAddr::new(ip, 8080);
        let connected = connect(&client.netns, dialled);
        let _client =
            connected.unwrap_or_else(|error| panic!("{dialled}: {error}, {:?}", lab.all_refusals()));
        let (accepted, _) = accept(at(&listeners.plaintext, ip)).expect("steered to 15006");
        assert_eq!(accepted.local_addr().unwrap(), dialled);
        let _client = connect(&client.netns, SocketAddr::new(ip, 15008)).unwrap();
        assert!(accept(at(&listeners.tunnel, ip)).is_some(), "steered to 15008");
        for port in [15001, 15006] {
            let refused = connect(&client.netns, SocketAddr::new(ip, port)).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "port {port} from outside");
        }
        for port in [15006, 15008] {
            let refused = connect(&server.netns, SocketAddr::new(ip, port)).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "port {port} from inside");
        }
    }
    assert!(lab.refusals("lookup", "agent-port") >= 8);
    assert!(application.accept().is_err(), "nothing reached the application by itself");
}

#[test]
fn the_application_sees_the_real_client_that_the_agent_dials_for() {
    let mut lab = Lab::new();
    let server = lab.pod(1);
    lab.start_agent();
    let listeners = lab.enrol(&server, MtlsMode::Strict);
    let sockets = lab.agent().datapath.sockets();

    let clients = [
        (server.v4, SocketAddr::new(Ipv4Addr::new(192, 0, 2, 7).into(), 4321)),
        (server.v6, SocketAddr::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).into(), 4321)),
    ];
    for (ip, client) in clients {
        let application = listen(&server.netns, SocketAddr::new(ip, 9000));
        let to = SocketAddr::new(ip, 9000);
        let dialled = sockets.dial(&listeners.pod, to, Purpose::Application { client }).unwrap();
        let (mut accepted, from) = accept(&application).expect("the application is reached");
        assert_eq!(from, client, "accept");
        assert_eq!(accepted.peer_addr().unwrap(), client, "getpeername");
        dialled.set_nonblocking(false).unwrap();
        let mut dialled = TcpStream::from(dialled);
        assert_eq!(dialled.local_addr().unwrap().ip(), ip, "from the pod's own address");
        dialled.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        accepted.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        // The entry went with the connection: the next one from inside the pod shows itself.
        let local = connect(&server.netns, to).unwrap();
        let (_, from) = accept(&application).unwrap();
        assert_eq!(from, local.local_addr().unwrap());
    }
    for port in [15001, 15006, 15008] {
        let own = SocketAddr::new(server.v4, port);
        let client = clients[0].1;
        assert!(
            sockets.dial(&listeners.pod, own, Purpose::Application { client }).is_err(),
            "own port {port}"
        );
    }
}

#[test]
fn a_strict_pod_takes_the_tunnel_and_the_kubelets_probes_and_nothing_else() {
    let mut lab = Lab::new();
    let (server, client) = (lab.pod(1), lab.pod(2));
    lab.start_agent();
    let application = listen(&server.netns, SocketAddr::new(server.v4, 8080));
    let udp = inside(&server.netns, || UdpSocket::bind((server.v4, 5353))).unwrap();
    udp.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let listeners = lab.enrol(&server, MtlsMode::Strict);
    let port = SocketAddr::new(server.v4, 8080);

    assert!(connect(&client.netns, port).is_err(), "plaintext from a pod");
    assert!(
        TcpStream::connect_timeout(&port, Duration::from_millis(300)).is_err(),
        "plaintext from the node"
    );
    assert!(lab.refusals("to-pod", "plaintext-to-strict") >= 2);
    connect(&client.netns, SocketAddr::new(server.v4, 15008)).unwrap();
    assert!(accept(at(&listeners.tunnel, server.v4)).is_some());

    let prober = lab.cgroup.join("prober");
    let probe = lab.in_cgroup(&prober, || TcpStream::connect_timeout(&port, Duration::from_secs(1)));
    let (_, from) = accept(&application).expect("a probe goes straight to the application");
    assert_eq!(from, probe.unwrap().local_addr().unwrap());

    let stranger = inside(&client.netns, || UdpSocket::bind((client.v4, 0))).unwrap();
    stranger.send_to(b"x", (server.v4, 5353)).unwrap();
    assert!(udp.recv_from(&mut [0; 8]).is_err(), "UDP from outside");
    assert_eq!(lab.refusals("to-pod", "udp-to-strict"), 1);
    udp.send_to(b"question", stranger.local_addr().unwrap()).unwrap();
    stranger.recv_from(&mut [0; 8]).unwrap();
    stranger.send_to(b"answer", (server.v4, 5353)).unwrap();
    udp.recv_from(&mut [0; 8]).expect("an answer to what the pod asked");
    // A port that is PERMISSIVE by name; the rest stays as it is.
    let exception = MtlsPolicy::new(MtlsMode::Strict, [(8080, MtlsMode::Permissive)]);
    assert_eq!(lab.want(&server, true, exception).failed, []);
    connect(&client.netns, port).unwrap();
    assert!(accept(at(&listeners.plaintext, server.v4)).is_some());
    assert!(connect(&client.netns, SocketAddr::new(server.v4, 8081)).is_err());
}

#[test]
fn what_bypasses_capture_inside_a_pod_gets_no_further_than_the_guard() {
    let mut lab = Lab::new();
    let (client, server) = (lab.pod(1), lab.pod(2));
    lab.start_agent();
    let listeners = lab.enrol(&client, MtlsMode::Permissive);
    let sockets = lab.agent().datapath.sockets();
    let target = SocketAddr::new(server.v4, 15008);
    let tunnel = listen(&server.netns, target);

    let outside = lab.outside_cgroup();
    assert!(lab.in_cgroup(&outside, || connect(&client.netns, target)).is_err(), "uncaptured");
    assert!(lab.refusals("from-pod", "uncaptured-connection") >= 1);
    assert!(accept(&tunnel).is_none());

    for purpose in [Purpose::Tunnel, Purpose::Passthrough] {
        let _dialled = sockets.dial(&listeners.pod, target, purpose).unwrap();
        let (_, from) = accept(&tunnel).expect("the agent's own dial passes");
        assert_eq!(from.ip(), client.v4, "from the pod's address");
    }
    let spoofed = inside(&client.netns, || {
        std::process::Command::new("ip").args(["addr", "add", "10.77.9.9/32", "dev", "lo"]).status().unwrap();
        UdpSocket::bind("10.77.9.9:0").unwrap()
    });
    spoofed.send_to(b"x", (server.v4, 53)).unwrap();
    assert_eq!(lab.refusals("from-pod", "spoofed-source"), 1);
}

#[test]
fn a_connect_that_began_before_enrolment_is_not_lost() {
    let mut lab = Lab::new();
    let (client, server) = (lab.pod(1), lab.pod(2));
    lab.start_agent();
    let to = SocketAddr::new(server.v4, 8080);
    let application = listen(&server.netns, to);
    // Its SYN gets lost, so that the retransmission, a second later, meets the guard.
    ip(&format!("route replace blackhole {}/32", server.v4));
    let connected = std::thread::scope(|scope| {
        let dialling = || inside(&client.netns, || TcpStream::connect_timeout(&to, Duration::from_secs(5)));
        let dialling = scope.spawn(dialling);
        std::thread::sleep(Duration::from_millis(100));
        let _listeners = lab.enrol(&client, MtlsMode::Permissive);
        ip(&format!("route replace {}/32 dev veth2", server.v4));
        dialling.join().unwrap()
    });
    connected.unwrap_or_else(|error| panic!("{error}, {:?}", lab.all_refusals()));
    accept(&application).expect("straight to the application, as it was dialled");
    let outside = lab.outside_cgroup();
    assert!(lab.in_cgroup(&outside, || connect(&client.netns, to)).is_err(), "nobody else");
}

#[test]
fn the_agents_ports_of_an_enrolled_pod_are_nobody_elses() {
    let mut lab = Lab::new();
    let pod = lab.pod(1);
    let outside = lab.outside_cgroup();
    let application = lab.cgroup.join("prober");
    let bind = |ip: IpAddr, port: u16| {
        inside(&pod.netns, || -> std::io::Result<socket2::Socket> {
            let domain = if ip.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
            socket.set_reuse_port(true)?;
            socket.bind(&SocketAddr::new(ip, port).into())?;
            socket.listen(1)?;
            Ok(socket)
        })
    };
    lab.start_agent();
    // Before: the pod's own business, and a reason not to enrol it.
    let taken = lab.in_cgroup(&outside, || bind(Ipv6Addr::UNSPECIFIED.into(), 15006).unwrap());
    let applied = lab.want(&pod, true, MtlsPolicy::new(MtlsMode::Permissive, []));
    assert!(applied.failed[0].1.contains("listens on port 15006"), "{applied:?}");
    drop(taken);
    let _listeners = lab.enrol(&pod, MtlsMode::Permissive);
    lab.in_cgroup(&application, || {
        for port in [15001, 15006, 15008] {
            let wildcards = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            for ip in [pod.v4, pod.v6].into_iter().chain(wildcards) {
                assert_eq!(bind(ip, port).unwrap_err().raw_os_error(), Some(libc::EPERM), "{ip} port {port}");
            }
            bind(Ipv4Addr::LOCALHOST.into(), port).unwrap();
        }
        bind(pod.v4, 8080).unwrap();
    });
    assert_eq!(lab.refusals("bind", "agent-port"), 12);
    assert_eq!(lab.want(&pod, false, MtlsPolicy::new(MtlsMode::Permissive, [])).enrolled, 0);
    lab.in_cgroup(&application, || bind(pod.v4, 15001).map(drop)).expect("released");
}

#[test]
fn without_listeners_connects_are_refused_at_once_and_a_new_agent_takes_over_from_the_pins() {
    let mut lab = Lab::new();
    let (pod, other) = (lab.pod(1), lab.pod(2));
    let _reachable = listen(&other.netns, SocketAddr::new(other.v4, 8080));
    lab.start_agent();
    drop(lab.enrol(&pod, MtlsMode::Permissive));
    lab.kill_agent();

    let began = Instant::now();
    for (netns, to) in [(&pod.netns, other.v4), (&other.netns, pod.v4), (&pod.netns, other.v6)] {
        let refused = connect(netns, SocketAddr::new(to, 8080)).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    assert!(began.elapsed() < Duration::from_millis(200), "refused at once");

    lab.start_agent();
    let second = Datapath::open(&lab.options()).unwrap_err();
    assert!(matches!(second, DatapathError::Taken(_)), "two agents on one node: {second}");
    let listeners = lab.listeners();
    connect(&pod.netns, SocketAddr::new(other.v4, 8080)).unwrap();
    assert!(accept(at(&listeners.outbound, pod.v4)).is_some());
    let programs = lab.agent().datapath.inspector().programs().unwrap();
    assert!(programs.iter().all(|program| !program.attached.is_empty()), "{programs:?}");

    // A record that cannot be read says nothing about its pod.
    let record = lab.folder.path().join(format!("pods/{}.json", pod.uid));
    let text = std::fs::read(&record).unwrap();
    std::fs::write(&record, "{").unwrap();
    let applied = lab.want(&pod, true, MtlsPolicy::new(MtlsMode::Permissive, []));
    assert_eq!((applied.enrolled, applied.failed.len()), (1, 1), "{applied:?}");
    std::fs::write(&record, text).unwrap();

    // Out again: captured no more, and nothing of it is left.
    assert_eq!(lab.want(&pod, false, MtlsPolicy::new(MtlsMode::Permissive, [])).enrolled, 0);
    connect(&pod.netns, SocketAddr::new(other.v4, 8080)).unwrap();
    assert!(accept(at(&listeners.outbound, pod.v4)).is_none());
    let links = std::fs::read_dir(lab.folder.path().join("bpf/4/links")).unwrap().count();
    assert_eq!(links, 7, "only the node's own");
    assert!(!lab.folder.path().join("captured").join(pod.uid.as_str()).exists());
}

#[test]
fn where_a_map_is_full_the_next_pod_stays_closed_and_nobody_else_notices() {
    for map in ["PODS", "GUARDS"] {
        let mut lab = Lab::new();
        let (first, next, other) = (lab.pod(1), lab.pod(2), lab.pod(3));
        let _reachable = listen(&other.netns, SocketAddr::new(other.v4, 8080));
        lab.start_agent();
        let listeners = lab.enrol(&first, MtlsMode::Permissive);
        let strangers = full::fill(&lab, map);

        let applied = lab.want(&next, true, MtlsPolicy::new(MtlsMode::Permissive, []));
        assert!(applied.failed.iter().any(|(_, why)| why.contains("map is full")), "{map}: {applied:?}");
        let to = SocketAddr::new(other.v4, 8080);
        assert!(connect(&next.netns, to).is_err(), "{map}: closed");
        connect(&first.netns, to).unwrap();
        assert!(accept(at(&listeners.outbound, first.v4)).is_some(), "{map}: captured as before");

        strangers.leave();
        let applied = lab.want(&next, true, MtlsPolicy::new(MtlsMode::Permissive, []));
        assert_eq!((applied.enrolled, applied.failed.len()), (2, 0), "{map}: {applied:?}");
    }
}

#[test]
fn what_is_being_looked_up_while_a_pod_leaves_still_finds_its_listeners() {
    let mut lab = Lab::new();
    let pod = lab.pod(1);
    lab.start_agent();
    let listeners = lab.enrol(&pod, MtlsMode::Permissive);
    let steered = |lab: &mut Lab| {
        let maps = lab.agent().datapath.inspector().maps();
        maps.into_iter().find(|map| map.name == "LISTENERS").unwrap().entries
    };
    assert_eq!(steered(&mut lab), 4, "two ports, two families");
    assert_eq!(lab.want(&pod, false, MtlsPolicy::new(MtlsMode::Permissive, [])).enrolled, 0);
    assert_eq!(steered(&mut lab), 4, "for as long as the worker keeps them");
    assert!(matches!(lab.agent().orders.try_recv(), Ok(WorkerCommand::Release(uid)) if uid == pod.uid));
    // Back in before the first ones are closed: those take nothing along that is not theirs.
    let again = lab.enrol(&pod, MtlsMode::Permissive);
    drop(listeners);
    assert_eq!(steered(&mut lab), 4);
    assert_eq!(lab.want(&pod, false, MtlsPolicy::new(MtlsMode::Permissive, [])).enrolled, 0);
    drop(again);
    assert_eq!(steered(&mut lab), 0, "with them, their entries");
}

#[test]
fn plaintext_connections_from_before_end_when_the_pod_becomes_strict() {
    let mut lab = Lab::new();
    let (pod, other) = (lab.pod(1), lab.pod(2));
    let outside = lab.outside_cgroup();
    // The test's sockets would be the agent's own by their cgroup; an accepted one has its listener's.
    let (mut client, _accepted) = lab.in_cgroup(&outside, || {
        let application = listen(&pod.netns, SocketAddr::new(pod.v4, 8080));
        (connect(&other.netns, SocketAddr::new(pod.v4, 8080)).unwrap(), accept(&application).unwrap())
    });
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    lab.start_agent();
    let _listeners = lab.enrol(&pod, MtlsMode::Permissive);
    let waiting = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock, "left alone under PERMISSIVE");
    assert_eq!(lab.want(&pod, true, MtlsPolicy::new(MtlsMode::Strict, [])).failed, []);
    let ended = client.read(&mut [0; 1]);
    assert!(matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset), "{ended:?}");
}

#[test]
fn a_pod_whose_record_does_not_match_its_namespace_is_reported_and_not_captured() {
    let mut lab = Lab::new();
    let pod = lab.pod(1);
    let path = lab.folder.path().join(format!("pods/{}.json", pod.uid));
    let record = std::fs::read_to_string(&path).unwrap().replace("10.77.1.2", "10.77.1.3");
    std::fs::write(path, record).unwrap();
    lab.start_agent();
    let applied = lab.want(&pod, true, MtlsPolicy::new(MtlsMode::Permissive, []));
    assert_eq!(applied.enrolled, 0);
    assert!(applied.failed[0].1.contains("10.77.1.3 is not in"), "{:?}", applied.failed);
}

#[test]
fn a_pod_whose_record_names_an_interface_that_is_not_its_own_is_reported_and_nothing_is_guarded() {
    let mut lab = Lab::new();
    let (pod, other) = (lab.pod(1), lab.pod(2));
    let path = lab.folder.path().join(format!("pods/{}.json", pod.uid));
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    // A second veth into the pod, that carries none of its addresses; and one that leads nowhere.
    ip(&format!("link add second type veth peer name eth1 netns {}", record["netns"].as_str().unwrap()));
    ip("link add alone type veth peer name alone2");
    let index = |name: &str| nix::net::if_::if_nametoindex(name).unwrap();
    lab.start_agent();
    let cases = [
        (index("veth2"), "does not lead to its network namespace"),
        (index("alone"), "does not lead to its network namespace"),
        (index("second"), "has none of its addresses"),
        (index("lo"), "is not a veth"),
        (4711, "does not exist"),
    ];
    for (ifindex, reason) in cases {
        let mut wrong = record.clone();
        wrong["hostIfindex"] = ifindex.into();
        std::fs::write(&path, wrong.to_string()).unwrap();
        let applied = lab.want(&pod, true, MtlsPolicy::new(MtlsMode::Strict, []));
        assert!(applied.failed[0].1.contains(reason), "{ifindex}: {:?}", applied.failed);
        let links = std::fs::read_dir(lab.folder.path().join("bpf/4/links")).unwrap().count();
        assert_eq!(links, 7, "nothing of a pod's");
    }
    let _reachable = listen(&other.netns, SocketAddr::new(other.v4, 8080));
    connect(&pod.netns, SocketAddr::new(other.v4, 8080)).expect("as it was");
    std::fs::write(&path, record.to_string()).unwrap();
    assert_eq!(lab.want(&pod, true, MtlsPolicy::new(MtlsMode::Strict, [])).failed, []);
}
