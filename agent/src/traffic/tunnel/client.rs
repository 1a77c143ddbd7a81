//! Opens tunnel connections, and streams on them.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use heddle_core::authorize::Permit;
use http::header::FORWARDED;
use http::uri::Authority;
use http::{Method, Request, StatusCode, Uri, Version};
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::TunnelStream;
use super::connect::forwarded_value;
use super::gather::{Gathered, Outlet, gather};
use super::pool::Lease;
use crate::telemetry::{Failure, Reason};
use crate::tls::CertificateError;
use crate::traffic::limits::{
    CHUNK, CONNECTION_WINDOW, Limits, MAX_FRAME, MAX_HEADER_LIST, SMALL_FRAME_BUDGET, STREAM_WINDOW,
    STREAMS_PER_CONNECTION,
};
use crate::traffic::socket::{Socket, TunnelSocket};

type Tls = TlsStream<TunnelSocket>;

/// HTTP/2 over TLS over TCP, to be driven by a task.
#[derive(Debug)]
pub struct Driver {
    connection: Connection<Gathered<Tls>, Bytes>,
    outlet: Outlet<Tls>,
}

impl Driver {
    /// Runs the connection to its end.
    ///
    /// # Errors
    /// It broke.
    pub async fn run(self) -> io::Result<()> {
        let Self { mut connection, outlet } = self;
        let ended = poll_fn(|cx| outlet.poll_after(Pin::new(&mut connection).poll(cx), cx)).await?;
        ended.map_err(io::Error::other)
    }
}

/// Handshakes: TLS, in which the expected identity must show itself, then HTTP/2.
///
/// # Errors
/// Somebody else answered, or nobody did in time.
pub async fn handshake(
    socket: Socket,
    config: Arc<rustls::ClientConfig>,
    to: SocketAddr,
    limits: &Limits,
) -> Result<(SendRequest<Bytes>, Driver), Failure> {
    let name = ServerName::IpAddress(to.ip().into());
    let shaking = async {
        let tls = TlsConnector::from(config)
            .connect(name, socket.into_tunnel())
            .await
            .map_err(|error| Failure::new(tls_reason(&error), &error))?;
        let (gathered, outlet) = gather(tls);
        let broken = |error: h2::Error| Failure::new(Reason::TunnelProtocol, &error);
        let (sender, connection) = settings().handshake(gathered).await.map_err(broken)?;
        Ok((sender, Driver { connection, outlet }))
    };
    match timeout(limits.handshake, shaking).await {
        Ok(shaken) => shaken,
        Err(_elapsed) => Err(Reason::TunnelTimeout.into()),
    }
}

/// Whether a handshake failed because of who answered.
fn tls_reason(error: &io::Error) -> Reason {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) => {
            match other.0.downcast_ref::<CertificateError>() {
                Some(_) => Reason::TunnelIdentity,
                None => Reason::TunnelTls,
            }
        }
        _ => Reason::TunnelTls,
    }
}

fn settings() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(CHUNK)
        .initial_max_send_streams(STREAMS_PER_CONNECTION)
        .data_frame_budget(SMALL_FRAME_BUDGET)
        .header_table_size(4096)
        .enable_push(false);
    builder
}

/// Opens a stream to where the permit leads, for `client`.
///
/// # Errors
/// The connection is broken ([`Attempt::Stale`]: another one may do), or the other agent said no.
pub async fn open(
    mut lease: Lease,
    permit: &Permit,
    client: SocketAddr,
    limits: &Limits,
) -> Result<TunnelStream, Attempt> {
    let request = request(permit.destination(), client).ok_or(Reason::BadAddress)?;
    let exchange = async {
        let mut sender = lease.sender().ready().await.map_err(Attempt::stale)?;
        let (response, send) = sender.send_request(request, false).map_err(Attempt::stale)?;
        let response = response.await.map_err(Attempt::broken)?;
        Ok::<_, Attempt>((response, send))
    };
    let (response, mut send) = match timeout(limits.response, exchange).await {
        Ok(exchanged) => exchanged?,
        Err(_elapsed) => return Err(Attempt::Final(Reason::TunnelTimeout.into())),
    };
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(TunnelStream::new(send, response.into_body(), Some(lease)));
    }
    send.send_reset(h2::Reason::CANCEL);
    let reason = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Reason::TunnelDenied,
        _ => Reason::TunnelRefused,
    };
    Err(Attempt::Final(Failure::new(reason, &format_args!("the destination's agent answered {status}"))))
}

fn request(to: SocketAddr, client: SocketAddr) -> Option<Request<()>> {
    let mut uri = http::uri::Parts::default();
    uri.authority = Some(Authority::try_from(to.to_string()).ok()?);
    let uri = Uri::from_parts(uri).ok()?;
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri;
    request.headers_mut().insert(FORWARDED, forwarded_value(client)?);
    Some(request)
}

/// How opening a stream failed.
#[derive(Debug)]
pub enum Attempt {
    /// The connection was no longer good; the request was not processed, so that it may go over another one.
    Stale(Failure),
    /// No use to try again.
    Final(Failure),
}

impl Attempt {
    #[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
    fn stale(error: h2::Error) -> Self {
        Self::Stale(Failure::new(Reason::TunnelProtocol, &error))
    }

    /// Nothing of the application's was sent before the answer: only an answer, or its absence in time, is final.
    fn broken(error: h2::Error) -> Self {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        if refused || error.is_go_away() || error.is_io() {
            return Self::stale(error);
        }
        Self::Final(Failure::new(Reason::TunnelProtocol, &error))
    }
}

impl From<Reason> for Attempt {
    fn from(reason: Reason) -> Self {
        Self::Final(reason.into())
    }
}
