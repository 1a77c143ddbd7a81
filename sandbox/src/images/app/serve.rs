//! HTTP/1.1 and HTTP/2 on any number of ports, in clear or in TLS, and echoes of plain TCP, until SIGTERM.
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A request and who it came from and at which of our addresses.
pub(super) struct Call {
    pub(super) request: Request<Incoming>,
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) tls: Option<Tls>,
}

/// What a TLS handshake agreed on.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) version: String,
    pub(super) cipher: String,
    pub(super) server_name: String,
    pub(super) protocol: String,
}

/// A port and what is spoken there.
pub(super) struct Port {
    pub(super) address: SocketAddr,
    pub(super) speaks: Speaks,
}

#[derive(Clone)]
pub(super) enum Speaks {
    Http,
    Https(TlsAcceptor),
    /// This text at the first bytes received, then what is received; HTTP with somebody who begins with a request.
    Tcp(Arc<str>),
}

/// How long requests may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// The connections there are, and the word to end them.
#[derive(Clone, Default)]
struct Drain {
    token: CancellationToken,
    connections: TaskTracker,
}

pub(super) type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Serves `handler` at every address, in clear.
pub(super) fn run<F, A>(addresses: &[SocketAddr], handler: F) -> io::Result<()>
where
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    run_ports(addresses.iter().map(|address| Port { address: *address, speaks: Speaks::Http }), handler)
}

/// Serves `handler` at every port.
pub(super) fn run_ports<F, A>(ports: impl IntoIterator<Item = Port>, handler: F) -> io::Result<()>
where
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        let (handler, drain) = (Arc::new(handler), Drain::default());
        let mut listeners = tokio::task::JoinSet::new();
        for Port { address, speaks } in ports {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| io::Error::new(error.kind(), format!("listen on {address}: {error}")))?;
            eprintln!("listening on {address}");
            listeners.spawn(accept(listener, speaks, handler.clone(), drain.clone()));
        }
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // As servers of Go's do at Shutdown: nothing new, and what has begun may end.
        listeners.shutdown().await;
        drain.token.cancel();
        drain.connections.close();
        let _cut_off = tokio::time::timeout(GRACE, drain.connections.wait()).await;
        Ok(())
    })
}

async fn accept<F, A>(listener: TcpListener, speaks: Speaks, handler: Arc<F>, drain: Drain)
where
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    loop {
        // Out of descriptors, or a client that has gone: the next one may be served.
        let Ok((stream, client)) = listener.accept().await else { continue };
        let (speaks, handler) = (speaks.clone(), handler.clone());
        let end = drain.token.clone();
        drain.connections.spawn(async move {
            if let Err(error) = connection(stream, client, &speaks, handler, &end).await {
                eprintln!("{client}: {error}");
            }
        });
    }
}

async fn connection<F, A>(
    stream: TcpStream,
    client: SocketAddr,
    speaks: &Speaks,
    handler: Arc<F>,
    end: &CancellationToken,
) -> io::Result<()>
where
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    let local = stream.local_addr()?;
    match speaks {
        Speaks::Http => http(stream, (client, local, None), handler, end).await,
        Speaks::Https(acceptor) => {
            let stream = acceptor.accept(stream).await?;
            let tls = agreed(stream.get_ref().1);
            http(stream, (client, local, Some(tls)), handler, end).await
        }
        Speaks::Tcp(_) if begins_as_http(&stream).await? => {
            http(stream, (client, local, None), handler, end).await
        }
        Speaks::Tcp(greeting) => echo(stream, greeting).await,
    }
}

async fn http<S, F, A>(
    stream: S,
    (client, local, tls): (SocketAddr, SocketAddr, Option<Tls>),
    handler: Arc<F>,
    end: &CancellationToken,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    let service = service_fn(move |request| {
        let reply = handler(Call { request, client, local, tls: tls.clone() });
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut served = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let done = tokio::select! {
        done = served.as_mut() => done,
        () = end.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    done.map_err(io::Error::other)
}

/// Whether the first bytes are a method's; waits for them.
async fn begins_as_http(stream: &TcpStream) -> io::Result<bool> {
    const METHODS: [&str; 8] = ["GET ", "HEAD", "POST", "PUT ", "DELE", "OPTI", "PATC", "PRI "];
    let mut first = [0; 4];
    let length = stream.peek(&mut first).await?;
    Ok(length == first.len() && METHODS.iter().any(|method| method.as_bytes() == first))
}

async fn echo(mut stream: TcpStream, greeting: &str) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut greeting = Some(greeting);
    loop {
        let length = stream.read(&mut buffer).await?;
        if let Some(text) = greeting.take() {
            stream.write_all(text.as_bytes()).await?;
        }
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

fn agreed(connection: &rustls::ServerConnection) -> Tls {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let suite = connection.negotiated_cipher_suite();
    let cipher = suite.and_then(|suite| suite.suite().as_str()).unwrap_or_default();
    Tls {
        version: version.to_owned(),
        cipher: cipher.replacen("TLS13_", "TLS_", 1),
        server_name: connection.server_name().unwrap_or_default().to_owned(),
        protocol: String::from_utf8_lossy(connection.alpn_protocol().unwrap_or_default()).into_owned(),
    }
}

/// A reply of this status, type and text.
pub(super) fn reply(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()).boxed_unsync());
    *reply.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::BAD_REQUEST);
    if let Ok(value) = content_type.parse() {
        reply.headers_mut().insert(hyper::header::CONTENT_TYPE, value);
    }
    reply
}

/// All addresses of both families at a port.
pub(super) fn any(port: u16) -> SocketAddr {
    SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port))
}
