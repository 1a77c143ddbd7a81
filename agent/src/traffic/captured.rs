//! What a captured connection turns out to be: requests, or bytes for an upstream that is open already.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use heddle_core::names::OrigDst;
use heddle_core::resolve::Destination;
use heddle_core::upstream::model::Protocol;
use heddle_core::workload::Service;
use tokio::time::{sleep, timeout};

use super::detect::{self, Named, Seen};
use super::network::PodNetwork;
use super::opaque::{self, By, Kept};
use super::outbound::{self, Upstream};
use super::socket::Socket;
use super::worker::Worker;
use crate::http::io::HttpIo;
use crate::http::sniff::{Spoken, sniff};
use crate::http::stage::{Opened, Stage};
use crate::http::upstream::Upstream as Cluster;
use crate::pod::Pod;
use crate::telemetry::tcp::TcpLabels;
use crate::telemetry::{Failure, Outcome, Reason};

/// How long a request that is there waits for the address that was dialled, which may not be where it goes.
const HASTE: Duration = Duration::from_millis(100);
/// How long a client may take to show that it would have made a request of an upstream that is not there.
const UNREACHABLE: Duration = Duration::from_secs(1);

/// A captured connection, and where it was going.
#[derive(Debug)]
pub(super) struct Captured<'a, N> {
    pub worker: &'a Rc<Worker<N>>,
    pub pod: &'a Arc<Pod>,
    pub dialled: OrigDst,
    pub client: SocketAddr,
}

/// An upstream, and its place in the cluster's budget.
type Opening = (Upstream, Option<Kept>);

/// What is told of a connection.
type Told<'a> = (&'a mut Outcome, &'a mut Option<TcpLabels>);

/// What a connection turned out to be.
#[derive(Debug)]
pub(super) enum Begun<N> {
    Http {
        stage: Box<Stage<N>>,
        socket: Socket,
        first: Bytes,
        two: bool,
    },
    Opaque {
        socket: Socket,
        first: Bytes,
        upstream: Upstream,
        kept: Option<Kept>,
    },
    /// The client has ended without a word.
    Nothing(Socket),
}

impl<N: PodNetwork> Captured<'_, N> {
    /// Finds out what it is, and opens what it needs.
    pub(super) async fn begin(&self, mut socket: Socket, outcome: &mut Outcome) -> Result<Begun<N>, Failure> {
        let (snapshot, destination) = outbound::find(self.worker, &self.pod.namespace, self.dialled).await;
        let local = self.worker.rules.of(&self.pod.uid, &snapshot).ok_or(Reason::PodUnknown)?;
        let named = Named::of(&snapshot, &self.pod.namespace, self.dialled);
        let seen = named.seen(&snapshot, &local, self.dialled);
        drop((snapshot, local));
        if seen == Seen::Requests && (named.host.is_some() || destination != Destination::Unknown) {
            return self.declared(socket, named.service).await;
        }
        let first = match named.protocol {
            // Whoever speaks TLS begins: its server name may have a rule of its own.
            Protocol::Tls => detect::client_hello(&mut socket, Bytes::new()).await?,
            _ => Bytes::new(),
        };
        let mut counted = None;
        let of = (&mut *outcome, &mut counted);
        let connecting = self.connect(destination, &named, &first, of);
        let connected = match seen {
            Seen::Detected => tokio::select! {
                biased;
                connected = connecting => connected,
                () = self.goes_elsewhere(&socket, &named) => Err(Reason::ConnectTimeout.into()),
            },
            _ => connecting.await,
        };
        let of = (&mut *outcome, &mut counted);
        let found = match connected {
            Ok(opened) if seen == Seen::Detected => self.look(socket, opened, &named, of).await,
            Ok((upstream, kept)) => Ok(Begun::Opaque { socket, first, upstream, kept }),
            Err(failure) if seen == Seen::Detected => self.unreachable(socket, &named, failure, of).await,
            Err(failure) => Err(failure),
        };
        match found {
            // Whoever carries requests has them counted, one by one.
            Ok(Begun::Http { .. }) => {}
            _ => counted.into_iter().for_each(|labels| outcome.classify(labels)),
        }
        found
    }

    /// A port that declares requests: nothing is dialled before the first has come.
    async fn declared(&self, mut socket: Socket, service: Option<Arc<Service>>) -> Result<Begun<N>, Failure> {
        let spoken = tokio::select! {
            spoken = detect::first_bytes(&mut socket, None) => spoken?,
            () = self.worker.draining.cancelled() => None,
        };
        Ok(match spoken {
            // What is no request is answered 400.
            Some((first, spoken)) => self.requests(socket, first, spoken == Spoken::Http2, service, None),
            None => Begun::Nothing(socket),
        })
    }

    /// Ends when a client that has spoken need not wait any longer for the address that it has dialled: it makes a request, or
    /// its server name leads elsewhere.
    async fn goes_elsewhere(&self, socket: &Socket, named: &Named) {
        let begun = |first: &[u8]| match sniff(first) {
            Spoken::Http1 | Spoken::Http2 => true,
            Spoken::Tls => detect::server_name(first).is_some_and(|sni| {
                let snapshot = self.worker.snapshot();
                let local = self.worker.rules.of(&self.pod.uid, &snapshot);
                let asked = self.asked(named, Some(&sni));
                local.is_some_and(|local| {
                    let by = (&*snapshot, &*local);
                    matches!(opaque::cluster(self.worker, by, &asked, By::ServerName), Ok(Some(_)))
                })
            }),
            _ => false,
        };
        loop {
            socket.speaks().await;
            sleep(HASTE).await;
            if socket.peek(begun).await {
                return;
            }
        }
    }

    /// The upstream did not take the connection: a request that comes now is answered, TLS may mean another server, everything
    /// else is reset.
    async fn unreachable(
        &self,
        mut socket: Socket,
        named: &Named,
        failure: Failure,
        of: Told<'_>,
    ) -> Result<Begun<N>, Failure> {
        match timeout(UNREACHABLE, detect::first_bytes(&mut socket, None)).await {
            Ok(Ok(Some((first, spoken @ (Spoken::Http1 | Spoken::Http2))))) => {
                Ok(self.requests(socket, first, spoken == Spoken::Http2, named.service.clone(), None))
            }
            Ok(Ok(Some((first, Spoken::Tls)))) => {
                let (first, opened) = self.by_server_name(&mut socket, first, named, of).await?;
                let (upstream, kept) = opened.ok_or(failure)?;
                Ok(Begun::Opaque { socket, first, upstream, kept })
            }
            _ => Err(failure),
        }
    }

    /// By rule and cluster where the registry knows what was dialled, else as dialled.
    async fn connect(
        &self,
        destination: Destination,
        named: &Named,
        first: &[u8],
        (outcome, counted): Told<'_>,
    ) -> Result<Opening, Failure> {
        let sni = detect::server_name(first);
        let asked = self.asked(named, sni.as_deref());
        if let Some(cluster) = self.cluster(&asked, By::Everything).await? {
            return opaque::connect(self.worker, &asked, &cluster, (outcome, counted)).await;
        }
        let of = (outcome, counted);
        let upstream =
            outbound::connect(self.worker, self.pod, self.dialled, self.client, destination, of).await?;
        Ok((upstream, None))
    }

    fn asked<'a>(&'a self, named: &'a Named, sni: Option<&'a str>) -> opaque::Asked<'a> {
        opaque::Asked {
            pod: self.pod,
            client: self.client,
            dialled: self.dialled,
            service: named.service.as_ref(),
            host: named.host.as_deref(),
            sni,
        }
    }

    /// The cluster, with the addresses of its names.
    async fn cluster(&self, asked: &opaque::Asked<'_>, by: By) -> Result<Option<Rc<Cluster>>, Failure> {
        let now = || {
            let snapshot = self.worker.snapshot();
            let local = self.worker.rules.of(&self.pod.uid, &snapshot).ok_or(Reason::PodUnknown)?;
            Ok::<_, Failure>((snapshot, local))
        };
        let (snapshot, local) = now()?;
        let cluster = opaque::cluster(self.worker, (&snapshot, &local), asked, by)?;
        drop((snapshot, local));
        if let Some(cluster) = &cluster {
            let clusters = self.worker.http.clusters.of(self.pod);
            if clusters.resolved(cluster).await {
                let (snapshot, local) = now()?;
                clusters.refresh(cluster, &snapshot, &local);
            }
        }
        Ok(cluster)
    }

    /// Who speaks first, and what?
    async fn look(
        &self,
        mut socket: Socket,
        (mut upstream, kept): Opening,
        named: &Named,
        of: Told<'_>,
    ) -> Result<Begun<N>, Failure> {
        let Some((first, spoken)) = detect::first_bytes(&mut socket, Some(&mut upstream)).await? else {
            return Ok(Begun::Opaque { socket, first: Bytes::new(), upstream, kept });
        };
        Ok(match spoken {
            Spoken::Http1 | Spoken::Http2 => {
                let opened = of.0.upstream.map(|address| Opened { address, wire: upstream.into_wire() });
                self.requests(socket, first, spoken == Spoken::Http2, named.service.clone(), opened)
            }
            Spoken::Tls => {
                let (first, elsewhere) = self.by_server_name(&mut socket, first, named, of).await?;
                let Some((instead, kept)) = elsewhere else {
                    return Ok(Begun::Opaque { socket, first, upstream, kept });
                };
                self.worker.tasks.spawn_local(HttpIo::client(upstream.into_wire()).close());
                Begun::Opaque { socket, first, upstream: instead, kept }
            }
            _ => Begun::Opaque { socket, first, upstream, kept },
        })
    }

    /// Where the server name of a client that speaks TLS leads, if a rule or an entry goes by it; and all that has come of
    /// the client by then.
    async fn by_server_name(
        &self,
        socket: &mut Socket,
        first: Bytes,
        named: &Named,
        of: Told<'_>,
    ) -> Result<(Bytes, Option<Opening>), Failure> {
        if !self.worker.snapshot().routes().names_servers() {
            return Ok((first, None));
        }
        let first = detect::client_hello(socket, first).await?;
        let Some(sni) = detect::server_name(&first) else { return Ok((first, None)) };
        let asked = self.asked(named, Some(&sni));
        let Some(cluster) = self.cluster(&asked, By::ServerName).await? else { return Ok((first, None)) };
        let opened = opaque::connect(self.worker, &asked, &cluster, of).await?;
        Ok((first, Some(opened)))
    }

    fn requests(
        &self,
        socket: Socket,
        first: Bytes,
        two: bool,
        service: Option<Arc<Service>>,
        opened: Option<Opened>,
    ) -> Begun<N> {
        let stage = Box::new(Stage {
            worker: self.worker.clone(),
            pod: self.pod.clone(),
            client: self.client,
            dialled: self.dialled,
            service,
            clusters: self.worker.http.clusters.of(self.pod),
            framing: (!two).then(Rc::default),
            activity: Rc::default(),
            opened: RefCell::new(opened),
            crossing: RefCell::default(),
        });
        Begun::Http { stage, socket, first, two }
    }
}
