//! Who is not who they should be, what is not a CONNECT, and what policy denies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use heddle_agent::telemetry::{Direction, Reason};
use heddle_agent::tls::{WorkloadCertificate, client_config};
use heddle_core::mtls::MtlsMode;
use heddle_core::names::{PodUid, PolicyName};
use heddle_core::policy::{Action, Clause, Match, Policy, Rule, StringMatch};
use http::{Method, Request, StatusCode};

use crate::world::{
    Authority, CLIENT, Lifetime, World, address, ask, echo, eventually, identity, local, read_error, uri,
};

fn exchange(world: &World, of: &str, certificate: WorkloadCertificate) {
    let agent = if of == "client" { &world.client } else { &world.server };
    agent.credentials.certificates.lock().unwrap().insert(PodUid::new(of), Arc::new(certificate));
}

/// Whatever is wrong with the server's certificate, the client's bytes go nowhere, and the counter says why.
fn refused_by_client(certificate: impl Fn(&World) -> WorkloadCertificate, reason: Reason) {
    let world = World::new();
    exchange(&world, "server", certificate(&world));
    let to = world.serve(80, |_| panic!("the application was reached"));
    let mut stream = world.connect(to);
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
    world.client.expect(Direction::Outbound, reason, 1);
    assert_eq!(world.server.live(), 0);
}

#[test]
fn another_identity_than_the_expected_one_is_refused() {
    refused_by_client(
        |world| world.authority.issue(&[&uri("other")], Lifetime::Valid),
        Reason::TunnelIdentity,
    );
}

#[test]
fn a_server_of_a_foreign_authority_is_refused() {
    refused_by_client(|_| Authority::new().issue(&[&uri("server")], Lifetime::Valid), Reason::TunnelTls);
}

#[test]
fn an_expired_server_is_refused() {
    refused_by_client(|world| world.authority.issue(&[&uri("server")], Lifetime::Expired), Reason::TunnelTls);
}

#[test]
fn a_server_with_two_names_is_refused() {
    let two = |world: &World| world.authority.issue(&[&uri("server"), &uri("other")], Lifetime::Valid);
    refused_by_client(two, Reason::TunnelIdentity);
}

fn refused_by_server(certificate: impl Fn(&World) -> WorkloadCertificate) {
    let world = World::new();
    exchange(&world, "client", certificate(&world));
    let to = world.serve(80, |_| panic!("the application was reached"));
    assert_eq!(read_error(&mut world.connect(to)), Some(libc::ECONNRESET));
    eventually(&format!("the server refused the client: {}", world.server.endings()), || {
        world.server.ended(Direction::Inbound, Reason::TlsCertificate) >= 1
    });
    assert_eq!(world.server.live(), 0);
}

#[test]
fn a_client_of_a_foreign_authority_is_refused() {
    refused_by_server(|_| Authority::new().issue(&[&uri("client")], Lifetime::Valid));
}

#[test]
fn an_expired_client_is_refused() {
    refused_by_server(|world| world.authority.issue(&[&uri("client")], Lifetime::Expired));
}

#[test]
fn a_client_with_two_names_is_refused() {
    refused_by_server(|world| world.authority.issue(&[&uri("client"), &uri("other")], Lifetime::Valid));
}

#[test]
fn a_client_of_a_foreign_trust_domain_is_refused() {
    refused_by_server(|world| {
        world.authority.issue(&["spiffe://elsewhere/ns/shop/sa/client"], Lifetime::Valid)
    });
}

/// What the server's agent answers to a request that our own client would never send.
fn answer(world: &World, request: Request<()>) -> Result<StatusCode, h2::Error> {
    let certificate = world.authority.issue(&[&uri("client")], Lifetime::Valid);
    let config = client_config(&certificate, &world.authority.bundle(), &identity("server")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(world.server.tunnel).await.unwrap();
        let name = rustls_pki_types::ServerName::try_from("10.244.2.2").unwrap();
        let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        let (response, _send) = sender.send_request(request, false)?;
        Ok(response.await?.status())
    })
}

fn connect_to(authority: &str) -> Request<()> {
    Request::builder().method(Method::CONNECT).uri(authority).body(()).unwrap()
}

#[test]
fn a_connect_to_anything_but_this_pod_is_a_bad_request() {
    let world = World::new();
    let elsewhere = [
        "127.0.0.1:80",
        "127.0.0.2:80",
        "10.244.1.2:80",
        "10.244.2.2:15001",
        "10.244.2.2:15006",
        "10.244.2.2:15008",
        "10.244.2.2:0",
        "169.254.169.254:80",
        "[::1]:80",
        "server.shop.svc:80",
    ];
    for authority in elsewhere {
        assert_eq!(answer(&world, connect_to(authority)).unwrap(), StatusCode::BAD_REQUEST, "{authority}");
    }
    let get = Request::builder().method(Method::GET).uri("https://10.244.2.2:80/").body(()).unwrap();
    assert_eq!(answer(&world, get).unwrap(), StatusCode::BAD_REQUEST);
    assert!(world.network.clients.lock().unwrap().is_empty(), "something was dialled");
    assert_eq!(answer(&world, connect_to("10.244.2.2:80")).unwrap(), StatusCode::SERVICE_UNAVAILABLE);
}

fn policy(name: &str, action: Action, principal: &str) -> Policy {
    let principals = Box::new([StringMatch::Exact(principal.into())]);
    let matches = Box::new([Match { principals, ..Match::default() }]);
    let rules = Box::new([Rule { clauses: Box::new([Clause { matches }]) }]);
    Policy::new(PolicyName::new(name), action, rules)
}

#[test]
fn what_policy_denies_is_answered_with_401() {
    let world = World::new();
    let to = world.serve(80, echo);
    world.change(|store| {
        store.put_policy(policy("shop/others-only", Action::Allow, "cluster.local/ns/shop/sa/other"));
        store.put_local(local("server", MtlsMode::Permissive, &["shop/others-only"]));
    });
    assert_eq!(answer(&world, connect_to("10.244.2.2:80")).unwrap(), StatusCode::UNAUTHORIZED);
    assert_eq!(read_error(&mut world.connect(to)), Some(libc::ECONNRESET));
    world.client.expect(Direction::Outbound, Reason::TunnelDenied, 1);
    world.server.expect(Direction::Inbound, Reason::NoAllowMatched, 2);
    assert!(world.network.clients.lock().unwrap().is_empty(), "the application was dialled");
}

#[test]
fn a_policy_that_is_missing_denies() {
    let world = World::new();
    world.change(|store| store.put_local(local("server", MtlsMode::Permissive, &["shop/unknown"])));
    assert_eq!(answer(&world, connect_to("10.244.2.2:80")).unwrap(), StatusCode::UNAUTHORIZED);
    world.server.expect(Direction::Inbound, Reason::PolicyMissing, 1);
}

#[test]
fn a_revoked_connection_is_reset_at_both_ends() {
    let world = World::new();
    let to = world.serve(80, echo);
    let mut stream = world.connect(to);
    assert_eq!(ask(&mut stream, "hello"), "hello");
    world.change(|store| {
        store.put_policy(policy("shop/no-client", Action::Deny, "cluster.local/ns/shop/sa/client"));
        store.put_local(local("server", MtlsMode::Permissive, &["shop/no-client"]));
    });
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
    world.server.expect(Direction::Inbound, Reason::Revoked, 1);
    assert_eq!(read_error(&mut world.connect(to)), Some(libc::ECONNRESET));
    world.server.expect(Direction::Inbound, Reason::PolicyDenied, 1);
}

#[test]
fn garbage_on_every_port_disturbs_nobody() {
    let world = World::new();
    let to = world.serve(80, echo);
    let mut honest = world.connect(to);
    for port in [world.server.outbound, world.server.plaintext, world.server.tunnel] {
        for garbage in
            [&b"\0"[..], b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0x16; 600]]
        {
            let mut stream = TcpStream::connect(port).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            // What becomes of it is the other side's choice; that there is an end is the point.
            drop(stream.write_all(garbage));
            drop(stream.shutdown(std::net::Shutdown::Write));
            drop(stream.read_to_end(&mut Vec::new()));
        }
        assert_eq!(ask(&mut honest, "still here"), "still here");
    }
    world.server.expect(Direction::Outbound, Reason::NotCaptured, 4);
    world.server.expect(Direction::Plaintext, Reason::Connect, 4);
    world.server.expect(Direction::Inbound, Reason::TlsHandshake, 4);
    eventually("only the honest connection is left", || world.server.live() == 1);
}

#[test]
fn a_dribbler_is_cut_off_at_the_handshake_deadline() {
    let world = World::new();
    let mut stream = TcpStream::connect(world.server.tunnel).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(&[0x16, 0x03, 0x01]).unwrap();
    drop(stream.read_to_end(&mut Vec::new()));
    world.server.expect(Direction::Inbound, Reason::TlsTimeout, 1);
}

#[test]
fn an_unknown_address_of_the_cluster_is_held_and_then_refused() {
    let world = World::new();
    let start = std::time::Instant::now();
    let mut stream = world.connect(address("10.244.9.9", 80));
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    world.client.expect(Direction::Outbound, Reason::UnknownDestination, 1);
}

#[test]
fn a_held_connection_goes_on_when_the_controller_names_its_destination() {
    let world = World::new();
    let to = world.serve(80, echo);
    let server = world.store.lock().unwrap().publish().workload_at(to.ip()).unwrap().clone();
    world.change(|store| store.remove_workload(&server.uid));
    let mut stream = world.connect(to);
    std::thread::sleep(Duration::from_millis(100));
    world.change(|store| store.put_workload((*server).clone()));
    assert_eq!(ask(&mut stream, "hello"), "hello");
}

#[test]
fn a_pod_that_the_controller_does_not_know_gets_nowhere() {
    let world = World::new();
    let to = world.serve(80, echo);
    world.change(|store| store.remove_local(&PodUid::new("client")));
    assert_eq!(read_error(&mut world.connect(to)), Some(libc::ECONNRESET));
    world.client.expect(Direction::Outbound, Reason::PodUnknown, 1);
    assert_eq!(answer(&world, connect_to(&format!("{CLIENT}:80"))).unwrap(), StatusCode::BAD_REQUEST);
}

#[test]
fn plaintext_reaches_a_permissive_pod_and_not_a_strict_one() {
    let world = World::new();
    let app = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    world.network.route(world.server.plaintext, app.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = app.accept() {
            std::thread::spawn(move || echo(stream));
        }
    });
    let mut stream = TcpStream::connect(world.server.plaintext).unwrap();
    assert_eq!(ask(&mut stream, "clear"), "clear");
    let own = stream.local_addr().unwrap();
    assert_eq!(*world.network.clients.lock().unwrap(), [own]);
    world.change(|store| store.put_local(local("server", MtlsMode::Strict, &[])));
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
    world.server.expect(Direction::Plaintext, Reason::Revoked, 1);
    let mut stream = TcpStream::connect(world.server.plaintext).unwrap();
    assert_eq!(read_error(&mut stream), Some(libc::ECONNRESET));
    world.server.expect(Direction::Plaintext, Reason::MtlsRequired, 1);
}
