//! A server that writes down what it is asked, clients that send exact bytes, and policies about requests.
#![allow(unreachable_pub)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use heddle_agent::tls::client_config;
use heddle_core::mtls::MtlsMode;
use heddle_core::names::PolicyName;
use heddle_core::policy::{Action, Clause, Match, Policy, RequestMatch, Rule, StringMatch};
use http::{Method, Request};

use crate::world::{Lifetime, PATIENCE, SERVER, World, address, identity, limits, local, uri};

/// One server pod with an application, reached in clear and through the tunnel.
pub struct Web {
    pub world: World,
    /// Request heads, as the application got them.
    pub seen: Arc<Mutex<Vec<String>>>,
}

impl Web {
    pub fn new() -> Self {
        Self::serving(answer)
    }

    pub fn serving(app: impl Fn(&Mutex<Vec<String>>, TcpStream) + Send + Sync + 'static) -> Self {
        let world = World::with(|| heddle_agent::traffic::limits::Limits {
            first_bytes: std::time::Duration::from_millis(500),
            ..limits()
        });
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        world.network.route(world.server.plaintext, at);
        world.network.route(address(SERVER, 80), at);
        let (app, told) = (Arc::new(app), seen.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (app, told) = (app.clone(), told.clone());
                std::thread::spawn(move || app(&told, stream));
            }
        });
        Self { world, seen }
    }

    /// From now on this is the only policy of the server.
    pub fn policy(&self, policy: Policy) {
        let name = policy.name.as_str().to_owned();
        self.world.change(|store| {
            store.put_policy(policy);
            store.put_local(local("server", MtlsMode::Permissive, &[&name]));
        });
    }

    /// A connection from outside the mesh.
    pub fn plain(&self) -> TcpStream {
        let stream = TcpStream::connect(self.world.server.plaintext).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes in clear and reads what comes until the end, or until it is cut.
    pub fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.plain();
        drop(stream.write_all(bytes));
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all));
        String::from_utf8_lossy(&all).into_owned()
    }

    /// The same through the tunnel, as the client.
    pub fn send_tunnelled(&self, bytes: &'static [u8]) -> String {
        let certificate = self.world.authority.issue(&[&uri("client")], Lifetime::Valid);
        let config =
            client_config(&certificate, &self.world.authority.bundle(), &identity("server")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tcp = tokio::net::TcpStream::connect(self.world.server.tunnel).await.unwrap();
            let name = rustls_pki_types::ServerName::try_from("10.244.2.2").unwrap();
            let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
            let (mut sender, connection) = h2::client::handshake(tls).await.unwrap();
            tokio::spawn(connection);
            let request = Request::builder().method(Method::CONNECT).uri("10.244.2.2:80").body(()).unwrap();
            let (response, mut send) = sender.send_request(request, false).unwrap();
            let response = response.await.unwrap();
            if !response.status().is_success() {
                return format!("CONNECT {}", response.status());
            }
            send.send_data(bytes.into(), false).unwrap();
            let mut body = response.into_body();
            let mut all = Vec::new();
            while let Ok(Some(Ok(data))) = tokio::time::timeout(PATIENCE, body.data()).await {
                drop(body.flow_control().release_capacity(data.len()));
                all.extend_from_slice(&data);
            }
            String::from_utf8_lossy(&all).into_owned()
        })
    }

    /// Request lines that the application got.
    pub fn lines(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }

    /// The value of a counter of the server's agent, over all series whose labels contain all of `labels`.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.world.server.telemetry.registry().gather();
        let family = families.iter().filter(|family| family.name() == name);
        let series = family.flat_map(|family| family.get_metric()).filter(|metric| {
            let has = |(name, value): &(&str, &str)| {
                metric.get_label().iter().any(|label| label.name() == *name && label.value() == *value)
            };
            labels.iter().all(has)
        });
        series.map(|metric| metric.get_counter().get_value()).sum()
    }
}

/// Answers every request with 200 and `ok`, as an ordinary server does: what it takes for one it answers.
pub fn answer(seen: &Mutex<Vec<String>>, stream: TcpStream) {
    let mut write = stream.try_clone().unwrap();
    let mut read = BufReader::new(stream);
    while let Some(head) = head(&mut read) {
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        if lower.contains("transfer-encoding: chunked") {
            let mut line = String::new();
            while line != "0\r\n" {
                line.clear();
                if read.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
            }
            drop(read.read_line(&mut line));
        }
        let mut body = vec![0; length.unwrap_or(0)];
        if read.read_exact(&mut body).is_err() {
            return;
        }
        let bodyless = head.starts_with("HEAD ");
        seen.lock().unwrap().push(head);
        let text = if bodyless { "" } else { "ok" };
        if write!(write, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-app: yes\r\n\r\n{text}").is_err() {
            return;
        }
    }
}

/// Up to the empty line.
pub fn head(read: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if read.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// One answer with a `content-length`.
pub fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8_lossy(&body)
}

pub fn exact(texts: &[&str]) -> Box<[StringMatch]> {
    texts.iter().map(|text| StringMatch::Exact((*text).into())).collect()
}

fn clause(fields: Match) -> Clause {
    Clause { matches: Box::new([fields]) }
}

/// As tutorial 15 is made into one: from a namespace, with methods.
pub fn methods_of(namespace: &str, methods: &[&str]) -> Policy {
    let from = Match { namespaces: exact(&[namespace]), ..Match::default() };
    let asks = RequestMatch { methods: exact(methods), ..RequestMatch::default() };
    let rule =
        Rule { clauses: Box::new([clause(from), clause(Match { request: asks, ..Match::default() })]) };
    Policy::new(PolicyName::new("shop/sidecar-auth-policy"), Action::Allow, Box::new([rule]))
}

/// Everything but what `asks` says.
pub fn deny(asks: RequestMatch) -> Policy {
    let rule = Rule { clauses: Box::new([clause(Match { request: asks, ..Match::default() })]) };
    Policy::new(PolicyName::new("shop/no"), Action::Deny, Box::new([rule]))
}
