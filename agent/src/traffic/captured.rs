//! What a captured connection turns out to be: requests, or bytes for an upstream that is open already.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use heddle_core::names::OrigDst;
use heddle_core::resolve::Destination;
use heddle_core::upstream::BudgetGuard;
use heddle_core::upstream::model::Protocol;
use heddle_core::workload::Service;
use tokio::time::timeout;

use super::detect::{self, Named, Seen};
use super::network::PodNetwork;
use super::opaque;
use super::outbound::{self, Upstream};
use super::socket::Socket;
use super::worker::Worker;
use crate::http::sniff::Spoken;
use crate::http::stage::{Opened, Stage};
use crate::pod::Pod;
use crate::telemetry::tcp::TcpLabels;
use crate::telemetry::{Failure, Outcome, Reason};

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
        kept: Option<BudgetGuard>,
    },
    /// The client has ended without a word.
    Nothing(Socket),
}

impl<N: PodNetwork> Captured<'_, N> {
    /// Finds out what it is, and opens what it needs.
    pub(super) async fn begin(&self, mut socket: Socket, outcome: &mut Outcome) -> Result<Begun<N>, Failure> {
        let (snapshot, destination) = outbound::find(self.worker, self.dialled).await;
        let local = self.worker.rules.of(&self.pod.uid, &snapshot).ok_or(Reason::PodUnknown)?;
        let named = Named::of(&snapshot, self.dialled);
        let seen = named.seen(&snapshot, &local, self.dialled);
        drop((snapshot, local));
        if seen == Seen::Requests && destination != Destination::Unknown {
            return self.declared(socket, named.service).await;
        }
        let first = match named.protocol {
            // Whoever speaks TLS begins: its server name may have a rule of its own.
            Protocol::Tls => detect::client_hello(&mut socket).await?,
            _ => Bytes::new(),
        };
        let mut counted = None;
        let of = (&mut *outcome, &mut counted);
        let connected = self.connect(destination, &named, &first, of).await;
        let found = match connected {
            Ok((upstream, kept)) if seen == Seen::Detected => {
                self.look(socket, upstream, kept, named.service, outcome).await
            }
            Ok((upstream, kept)) => Ok(Begun::Opaque { socket, first, upstream, kept }),
            Err(failure) if seen == Seen::Detected => self.unreachable(socket, named.service, failure).await,
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

    /// The upstream did not take the connection: a request that comes now is answered, everything else is reset.
    async fn unreachable(
        &self,
        mut socket: Socket,
        service: Option<Arc<Service>>,
        failure: Failure,
    ) -> Result<Begun<N>, Failure> {
        match timeout(UNREACHABLE, detect::first_bytes(&mut socket, None)).await {
            Ok(Ok(Some((first, spoken @ (Spoken::Http1 | Spoken::Http2))))) => {
                Ok(self.requests(socket, first, spoken == Spoken::Http2, service, None))
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
        (outcome, counted): (&mut Outcome, &mut Option<TcpLabels>),
    ) -> Result<(Upstream, Option<BudgetGuard>), Failure> {
        let sni = detect::server_name(first);
        let asked = opaque::Asked {
            pod: self.pod,
            client: self.client,
            dialled: self.dialled,
            service: named.service.as_ref(),
            sni: sni.as_deref(),
        };
        let cluster = {
            let snapshot = self.worker.snapshot();
            let local = self.worker.rules.of(&self.pod.uid, &snapshot).ok_or(Reason::PodUnknown)?;
            opaque::cluster(self.worker, &snapshot, &local, &asked)?
        };
        if let Some(cluster) = cluster {
            return opaque::connect(self.worker, &asked, &cluster, (outcome, counted)).await;
        }
        let of = (outcome, counted);
        let upstream =
            outbound::connect(self.worker, self.pod, self.dialled, self.client, destination, of).await?;
        Ok((upstream, None))
    }

    /// Who speaks first, and what?
    async fn look(
        &self,
        mut socket: Socket,
        mut upstream: Upstream,
        kept: Option<BudgetGuard>,
        service: Option<Arc<Service>>,
        outcome: &Outcome,
    ) -> Result<Begun<N>, Failure> {
        let Some((first, spoken)) = detect::first_bytes(&mut socket, Some(&mut upstream)).await? else {
            return Ok(Begun::Opaque { socket, first: Bytes::new(), upstream, kept });
        };
        Ok(match spoken {
            Spoken::Http1 | Spoken::Http2 => {
                let opened = outcome.upstream.map(|address| Opened { address, wire: upstream.into_wire() });
                self.requests(socket, first, spoken == Spoken::Http2, service, opened)
            }
            _ => Begun::Opaque { socket, first, upstream, kept },
        })
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
            clusters: self.worker.http.clusters.of(&self.pod.uid),
            framing: (!two).then(Rc::default),
            activity: Rc::default(),
            opened: RefCell::new(opened),
            crossing: RefCell::default(),
        });
        Begun::Http { stage, socket, first, two }
    }
}
