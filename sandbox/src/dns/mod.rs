//! The cluster's DNS as every node answers it, on 10.96.0.10 and fd00:10:96::a, UDP and TCP.

mod answer;
#[cfg(test)]
mod tests;
mod zone;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fabric::{Node, address, netns};
use crate::store::Store;

use zone::Zone;

/// How long a client may take over a TCP connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many TCP clients are served at once.
const CLIENTS: usize = 64;

/// The running name server of a node; it stops when dropped.
#[derive(Debug)]
pub struct Dns {
    _tasks: JoinSet<()>,
}

/// The zone of the store's present version.
#[derive(Debug)]
struct Records {
    store: Store,
    cached: Mutex<(u64, Arc<Zone>)>,
}

impl Records {
    fn zone(&self) -> Arc<Zone> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.store.version();
        if cached.0 != version {
            *cached = (version, Arc::new(Zone::of(&self.store)));
        }
        cached.1.clone()
    }
}

/// Begins to answer in the node's network namespace. The sockets are made there; the tasks run here.
pub async fn spawn(node: &Node, store: Store) -> io::Result<Dns> {
    let records = Arc::new(Records { store, cached: Mutex::new((u64::MAX, Arc::default())) });
    let bind = || {
        let mut sockets = Vec::new();
        for ip in address::DNS.both() {
            let at = SocketAddr::new(ip, 53);
            let (udp, tcp) = (std::net::UdpSocket::bind(at)?, std::net::TcpListener::bind(at)?);
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            sockets.push((udp, tcp));
        }
        Ok(sockets)
    };
    let mut tasks = JoinSet::new();
    for (udp, tcp) in netns::within(&node.netns(), bind).await? {
        tasks.spawn(datagrams(UdpSocket::from_std(udp)?, records.clone()));
        tasks.spawn(streams(TcpListener::from_std(tcp)?, records.clone()));
    }
    Ok(Dns { _tasks: tasks })
}

async fn datagrams(socket: UdpSocket, records: Arc<Records>) {
    let mut query = [0; 4096];
    loop {
        // An error here is an ICMP reply to an earlier answer: that client has gone, others have not.
        let Ok((length, client)) = socket.recv_from(&mut query).await else { continue };
        if let Some(reply) = answer::to(&query[..length], &records.zone(), answer::Over::Udp)
            && let Err(error) = socket.send_to(&reply, client).await
        {
            tracing::debug!(%error, %client, "answer not sent");
        }
    }
}

async fn streams(listener: TcpListener, records: Arc<Records>) {
    let limit = Arc::new(Semaphore::new(CLIENTS));
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        let Ok(permit) = limit.clone().acquire_owned().await else { return };
        let records = records.clone();
        clients.spawn(async move {
            // A client that is slow or breaks off loses its own connection only.
            let _ = tokio::time::timeout(PATIENCE, converse(stream, &records)).await;
            drop(permit);
        });
    }
}

async fn converse(mut stream: TcpStream, records: &Records) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await?;
        let Some(reply) = answer::to(&query, &records.zone(), answer::Over::Tcp) else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        stream.write_u16(length).await?;
        stream.write_all(&reply).await?;
    }
}
