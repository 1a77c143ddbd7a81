//! Whether a captured connection is seen as requests: by what is declared, by what rules say, by its first bytes.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use heddle_core::names::OrigDst;
use heddle_core::route::Client;
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::model::Protocol;
use heddle_core::workload::{L7Mode, LocalWorkload, Service};
use tokio::time::timeout;
use tokio_util::io::poll_read_buf;

use super::outbound::Upstream;
use super::socket::Socket;
use crate::http::sniff::{Spoken, sniff};
use crate::telemetry::{Failure, Reason};

/// How long the rest of a first line may take; what has come so far decides then.
const REST: Duration = Duration::from_secs(5);
/// The first flight of a TLS client, at most: one with post-quantum keys and a long list of everything.
const HELLO: usize = 16 * 1024;
/// The first bytes that are looked at.
const FIRST: usize = 8 * 1024;

/// What is dialled, by the registry.
#[derive(Debug)]
pub struct Named {
    /// The service.
    pub service: Option<Arc<Service>>,
    /// Its host, or that of a ServiceEntry whose network or port this is.
    pub host: Option<Arc<str>>,
    /// What its port declares.
    pub protocol: Protocol,
    /// Where requests to it are seen.
    mode: Option<L7Mode>,
}

/// What is seen of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its requests.
    Requests,
    /// Its requests, if its first bytes are one.
    Detected,
    /// Bytes.
    Bytes,
}

impl Named {
    /// Of an address that a pod of a namespace has dialled.
    pub fn of(snapshot: &Snapshot, namespace: &str, dialled: OrigDst) -> Self {
        let (ip, port) = (dialled.0.ip().to_canonical(), dialled.0.port());
        if let Some(service) = snapshot.service_at(ip) {
            let declared = service.ports.iter().find(|each| each.service_port == port);
            let protocol = declared.map_or(Protocol::Unknown, |port| port.protocol);
            let host = Some(service.hostname.clone());
            return Self { protocol, mode: service.l7, host, service: Some(service.clone()) };
        }
        let unknown = Self { service: None, host: None, protocol: Protocol::Unknown, mode: None };
        let Some(workload) = snapshot.workload_at(ip) else {
            let Some(listed) = snapshot.destinations().listed(namespace, ip, port) else { return unknown };
            return Self { host: Some(listed.host.clone()), protocol: listed.port.protocol, ..unknown };
        };
        // A pod that is dialled itself: what any of its services says of that port.
        let mut mappings = workload.services.iter().flat_map(|(key, ports)| {
            ports.iter().filter(|mapping| mapping.target_port == port).map(move |mapping| (key, mapping))
        });
        match mappings.next() {
            Some((key, mapping)) => Self {
                protocol: mapping.protocol,
                mode: snapshot.service(key).and_then(|service| service.l7),
                ..unknown
            },
            None => unknown,
        }
    }

    /// What is seen of a connection of this pod to it.
    pub fn seen(&self, snapshot: &Snapshot, local: &LocalWorkload, dialled: OrigDst) -> Seen {
        let client = Client { namespace: local.identity.namespace(), labels: &local.labels };
        let routes = snapshot.routes();
        let has_rules = || {
            self.host.as_ref().is_some_and(|host| {
                routes.has_http_rules(&client, host, dialled.0.port()) || routes.has_tls_rules(&client, host)
            })
        };
        match (self.mode.unwrap_or(local.l7), self.protocol) {
            (L7Mode::Never, _) | (_, Protocol::Tcp | Protocol::Tls) => Seen::Bytes,
            (L7Mode::Rules, _) if !has_rules() => Seen::Bytes,
            (_, Protocol::Http | Protocol::Http2 | Protocol::Grpc) => Seen::Requests,
            (_, Protocol::Unknown) => Seen::Detected,
        }
    }
}

/// Waits for the client's first bytes and says what they are; `None` if the server speaks first, or the client ends
/// without a word.
pub(super) async fn first_bytes(
    socket: &mut Socket,
    mut far: Option<&mut Upstream>,
) -> Result<Option<(Bytes, Spoken)>, Failure> {
    let mut first = BytesMut::with_capacity(1024);
    // The client may take its time for its first byte: only what has begun has a deadline.
    let begun = poll_fn(|cx| match poll_read(socket, &mut first, cx) {
        Poll::Pending => match &mut far {
            Some(far) => far.poll_speaks(cx).map(|()| Ok(0)),
            None => Poll::Pending,
        },
        read => read,
    });
    if begun.await? == 0 {
        return Ok(None);
    }
    loop {
        let spoken = sniff(&first);
        if spoken != Spoken::More || first.len() >= FIRST {
            return Ok(Some((first.freeze(), spoken)));
        }
        let read = timeout(REST, poll_fn(|cx| poll_read(socket, &mut first, cx))).await;
        // The client has ended, or takes too long for a request.
        if read.unwrap_or(Ok(0))? == 0 {
            return Ok(Some((first.freeze(), Spoken::Other)));
        }
    }
}

/// The first flight of a client that speaks TLS, of which `first` has come; empty if the client ends without a word.
pub(super) async fn client_hello(socket: &mut Socket, first: Bytes) -> Result<Bytes, Failure> {
    let mut first = BytesMut::from(first);
    if first.is_empty() && poll_fn(|cx| poll_read(socket, &mut first, cx)).await? == 0 {
        return Ok(Bytes::new());
    }
    while first.len() < HELLO && matches!(hello(&first), Ok(None)) {
        let read = timeout(REST, poll_fn(|cx| poll_read(socket, &mut first, cx))).await;
        if read.unwrap_or(Ok(0))? == 0 {
            break;
        }
    }
    Ok(first.freeze())
}

/// The server name that a client asks for.
pub(super) fn server_name(first: &[u8]) -> Option<String> {
    let accepted = hello(first).ok()??;
    accepted.client_hello().server_name().map(str::to_owned)
}

fn hello(mut bytes: &[u8]) -> Result<Option<rustls::server::Accepted>, ()> {
    let mut acceptor = rustls::server::Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).map_err(drop)?;
        if let Some(accepted) = acceptor.accept().map_err(drop)? {
            return Ok(Some(accepted));
        }
    }
    Ok(None)
}

fn poll_read(socket: &mut Socket, into: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Result<usize, Failure>> {
    into.reserve(1024);
    let read = poll_read_buf(Pin::new(socket.stream_mut()), cx, into);
    read.map_err(|error| Failure::new(Reason::ClientReset, &error))
}
