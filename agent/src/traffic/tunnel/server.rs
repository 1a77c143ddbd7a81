//! Accepts tunnel connections on a pod's port 15008: TLS shows who connects, then every CONNECT goes to `inbound`.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::SystemTime;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use heddle_core::authorize::Peer;
use http::Request;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::gather::{Gathered, Outlet, gather};
use crate::telemetry::{Direction, Failure, Reason};
use crate::tls::certificate::Leaf;
use crate::tls::verifier;
use crate::traffic::inbound::{self, Requested};
use crate::traffic::limits::{
    CHUNK, CONNECTION_WINDOW, MAX_FRAME, MAX_HEADER_LIST, MAX_LOCAL_RESETS, MAX_PENDING_RESETS,
    SMALL_FRAME_BUDGET, STREAM_WINDOW, STREAMS_PER_CONNECTION,
};
use crate::traffic::network::PodNetwork;
use crate::traffic::served::Served;
use crate::traffic::socket::{Socket, TunnelSocket};
use crate::traffic::worker::Worker;

type Tls = TlsStream<TunnelSocket>;
type Http2 = (Connection<Gathered<Tls>, Bytes>, Outlet<Tls>);

/// The other end of a tunnel connection, proven by its handshake.
#[derive(Debug)]
pub struct TunnelPeer {
    /// Who.
    pub peer: Peer,
    /// From where; an address of the client's pod.
    pub address: SocketAddr,
    not_after: SystemTime,
    streams: Cell<usize>,
}

/// Serves one connection to port 15008.
pub async fn serve<N: PodNetwork>(
    worker: Rc<Worker<N>>,
    served: Rc<Served>,
    socket: Socket,
    address: SocketAddr,
) {
    let Some(shaking) = served.handshake(worker.limits.pod_handshakes) else {
        return worker.telemetry.count(Direction::Inbound, Reason::PodHandshakes);
    };
    let shaken = Box::pin(handshake(&worker, &served, socket, address)).await;
    drop(shaking);
    let result = match shaken {
        Ok((connection, tunnel)) => Box::pin(accept_streams(&worker, &served, connection, &tunnel)).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = result {
        worker.telemetry.count(Direction::Inbound, failure.reason);
        tracing::debug!(pod = %served.pod, client = %address, %failure, "tunnel connection ended");
    }
}

async fn handshake<N: PodNetwork>(
    worker: &Worker<N>,
    served: &Served,
    socket: Socket,
    address: SocketAddr,
) -> Result<(Http2, Rc<TunnelPeer>), Failure> {
    socket.keep_alive().map_err(|error| Failure::new(Reason::TlsHandshake, &error))?;
    let config = worker.credentials.server_config(&served.pod.uid).ok_or(Reason::NoCertificate)?;
    let shaking = async {
        let tls = TlsAcceptor::from(config)
            .accept(socket.into_tunnel())
            .await
            .map_err(|error| Failure::new(tls_reason(&error), &error))?;
        let (peer, leaf) =
            verifier::peer(tls.get_ref().1).map_err(|error| Failure::new(Reason::TlsCertificate, &error))?;
        let broken = |error: h2::Error| Failure::new(Reason::TunnelBroken, &error);
        let (gathered, outlet) = gather(tls);
        let connection = settings().handshake(gathered).await.map_err(broken)?;
        Ok::<_, Failure>(((connection, outlet), peer, leaf))
    };
    let (connection, peer, Leaf { not_after, .. }) = match timeout(worker.limits.handshake, shaking).await {
        Ok(shaken) => shaken?,
        Err(_elapsed) => return Err(Reason::TlsTimeout.into()),
    };
    worker.telemetry.server_tunnels.inc();
    Ok((connection, Rc::new(TunnelPeer { peer, address, not_after, streams: Cell::new(0) })))
}

fn tls_reason(error: &std::io::Error) -> Reason {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Reason::TlsCertificate
        }
        _ => Reason::TlsHandshake,
    }
}

fn settings() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_concurrent_streams(2 * STREAMS_PER_CONNECTION as u32)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
        .max_send_buffer_size(CHUNK)
        .data_frame_budget(SMALL_FRAME_BUDGET)
        .header_table_size(4096);
    builder
}

/// Accepts streams until the peer leaves, the pod stops, or the connection has been idle or lived for too long.
async fn accept_streams<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    served: &Rc<Served>,
    (mut connection, outlet): Http2,
    tunnel: &Rc<TunnelPeer>,
) -> Result<(), Failure> {
    let idle = 2 * worker.limits.tunnel_idle;
    let mut tick = std::pin::pin!(sleep_until(Instant::now() + worker.limits.first_request));
    let (mut used, mut leaving) = (false, false);
    loop {
        tokio::select! {
            biased;
            () = served.stopped.cancelled() => return Ok(()),
            () = worker.draining.cancelled(), if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
            }
            () = &mut tick => {
                if tunnel.streams.get() == 0 && leaving {
                    return Ok(());
                }
                if tunnel.is_expired() || (tunnel.streams.get() == 0 && !used) {
                    leaving = true;
                    connection.graceful_shutdown();
                }
                used = false;
                tick.as_mut().reset(Instant::now() + idle);
            }
            accepted = poll_fn(|cx| outlet.poll_after(connection.poll_accept(cx), cx)) => {
                let Some(accepted) = accepted.map_err(|error| Failure::new(Reason::TunnelBroken, &error))? else {
                    return Ok(());
                };
                let (request, respond) = accepted.map_err(|error| Failure::new(Reason::TunnelBroken, &error))?;
                used = true;
                leaving = leaving || begin(worker, served, tunnel, request, respond, &mut connection);
            }
        }
    }
}

/// Hands a stream to its own task; true if the connection has to end because the peer's certificate has.
fn begin<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    served: &Rc<Served>,
    tunnel: &Rc<TunnelPeer>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: &mut Connection<Gathered<Tls>, Bytes>,
) -> bool {
    if tunnel.is_expired() {
        // Not processed: the client opens it again over a connection with its present certificate.
        respond.send_reset(h2::Reason::REFUSED_STREAM);
        connection.graceful_shutdown();
        return true;
    }
    let Some(admitted) = served.admit(worker.limits.pod_connections) else {
        respond.send_reset(h2::Reason::REFUSED_STREAM);
        worker.telemetry.count(Direction::Inbound, Reason::PodConnections);
        return false;
    };
    let requested = Requested::judge(request, respond, &served.pod, tunnel);
    let stream = OpenStream::count(tunnel);
    let (worker, served) = (worker.clone(), served.clone());
    worker.clone().tasks.spawn_local(async move {
        inbound::serve(&worker, &served.pod, &stream.0, requested).await;
        drop((admitted, stream));
    });
    false
}

impl TunnelPeer {
    fn is_expired(&self) -> bool {
        self.not_after <= SystemTime::now()
    }
}

/// Counts a stream of a connection for as long as it is open.
struct OpenStream(Rc<TunnelPeer>);

impl OpenStream {
    fn count(tunnel: &Rc<TunnelPeer>) -> Self {
        tunnel.streams.set(tunnel.streams.get() + 1);
        Self(tunnel.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}
