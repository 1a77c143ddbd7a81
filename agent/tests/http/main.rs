//! The HTTP stage of the client's agent, and the one of the destination's, over loopback: what requests become on their way.
#![allow(clippy::unwrap_used, clippy::panic, missing_debug_implementations)]

#[path = "../tunnel/authority.rs"]
mod authority;
mod basics;
mod bodies;
mod endings;
mod features;
mod retries;
mod tls;
mod two;
#[allow(dead_code)]
#[path = "../tunnel/world.rs"]
mod world;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use heddle_core::names::ServiceKey;
use heddle_core::upstream::model::Protocol;
use heddle_core::workload::{PortMapping, Service, Tunnel, Workload};
use world::{SERVER, World, address, identity};

/// The virtual address of the service `web`.
pub const VIP: &str = "10.96.0.1";

/// Heads that an application got.
pub type Heads = Arc<Mutex<Vec<String>>>;

/// A service `web` of one endpoint, port 80 to 8080.
pub fn service(world: &World, protocol: Protocol) {
    let key = ServiceKey::new("shop/web.shop.svc.cluster.local");
    let port = PortMapping { service_port: 80, target_port: 8080, protocol };
    world.change(|store| {
        store.put_service(Service {
            key: key.clone(),
            name: "web".into(),
            namespace: "shop".into(),
            hostname: "web.shop.svc.cluster.local".into(),
            addresses: [VIP.parse().unwrap()].into(),
            ports: [port].into(),
            l7: None,
            export_to: Default::default(),
            unready: false,
            routing: None,
        });
        store.put_workload(endpoint("server", SERVER, &key, port));
    });
}

/// The same, with an endpoint outside the mesh: no other agent has a say.
pub fn bare_service(world: &World) {
    service(world, Protocol::Http);
    world.change(|store| {
        let key = ServiceKey::new("shop/web.shop.svc.cluster.local");
        let port = PortMapping { service_port: 80, target_port: 8080, protocol: Protocol::Http };
        store.put_workload(Workload { tunnel: Tunnel::None, ..endpoint("server", SERVER, &key, port) });
    });
}

/// A workload that is an endpoint of a service.
pub fn endpoint(name: &str, ip: &str, key: &ServiceKey, port: PortMapping) -> Workload {
    Workload {
        identity: identity("server"),
        services: [(key.clone(), [port].into())].into(),
        ..world::plain_workload(name, &[ip])
    }
}

/// One request of a connection, read to the end of its body (by `content-length`).
pub fn read_request(connection: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// A header of a head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Answers every request with what `answer` makes of its head and body; keeps the heads.
pub fn app(
    heads: &Heads,
    answer: impl Fn(&str, &[u8]) -> Option<String> + Send + Sync + 'static,
) -> impl Fn(TcpStream) + Send + Sync + 'static {
    let heads = heads.clone();
    move |connection| {
        let mut writer = connection.try_clone().unwrap();
        let mut reader = BufReader::new(connection);
        while let Some((head, body)) = read_request(&mut reader) {
            let answered = answer(&head, &body);
            heads.lock().unwrap().push(head);
            let Some(text) = answered else { return };
            if writer.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// `200` with a body.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Asks, and reads one answer: head and body.
pub fn ask(stream: &mut TcpStream, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(stream)
}

/// One answer of a connection.
pub fn read_answer(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut body = Vec::new();
    if let Some(length) = header(&head, "content-length") {
        body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
    } else if header(&head, "transfer-encoding").is_some() {
        let mut whole = Vec::new();
        while !whole.ends_with(b"0\r\n\r\n") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "within {:?}", String::from_utf8_lossy(&whole));
            whole.push(byte[0]);
        }
        body = whole;
    }
    (head, String::from_utf8(body).unwrap())
}

/// The address of `web`.
pub fn web() -> SocketAddr {
    address(VIP, 80)
}
