//! An inbound connection, through the tunnel or in clear: registered, judged, and then copied or served as HTTP.
//!
//! ```text
//! register ─► authorize ─┬─ Permit ─────► dial ─┬─ bytes ──────────────────────────────► copy
//!                        │                      └─ first bytes show HTTP ─► requests
//!                        ├─ Permit, the port declares HTTP ───────────────► requests ─► dial
//!                        └─ PerRequest ─► first bytes ─┬─ HTTP ───────────► requests ─► judge ─► dial
//!                                                      └─ anything else, or nothing in time ─► denied
//! ```

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use heddle_core::authorize::{Flow, Permit, Verdict, authorize, authorize_opaque};
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::model::Protocol;
use heddle_core::workload::{L7Mode, LocalWorkload, Service};
use tokio::time::timeout;

use super::copy::{self, Tally};
use super::dial;
use super::live::{Facts, Registration};
use super::network::PodNetwork;
use super::peek::{self, Peeked};
use super::requests::Requests;
use super::socket::Socket;
use super::worker::Worker;
use super::{inbound, plaintext};
use crate::http::Wire;
use crate::http::sniff::Spoken;
use crate::pod::Pod;
use crate::telemetry::{Direction, Failure, Labels, Meter, Outcome, Reason};

/// Where a connection came in, not yet answered if it came through a tunnel.
pub(super) trait Door {
    /// Lets it in.
    fn open(self) -> Result<Wire, Failure>;
    /// Says why not.
    fn refuse(self, reason: Reason);
}

/// A connection that has come.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) pod: Arc<Pod>,
    pub(super) direction: Direction,
    /// As the application shall see it.
    pub(super) client: SocketAddr,
    pub(super) flow: Flow,
}

/// What becomes of it.
enum Next<N> {
    Bytes(Passing),
    Requests(Box<Requests<N>>, Wire, Bytes, Spoken),
}

/// Two ends, and what was read of the client's already.
pub(super) struct Passing {
    pub(super) near: Wire,
    pub(super) first: Bytes,
    pub(super) app: Socket,
}

/// How it is to be treated.
enum Plan {
    /// As bytes.
    Copy(Permit),
    /// As bytes, unless the client's first ones show HTTP.
    Race(Permit),
    /// As requests.
    Requests,
    /// As requests, if the client's first bytes show some; else it is denied.
    RequestsOnly,
}

/// Serves a connection to its end.
pub(super) async fn serve<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    arrival: Arrival,
    door: impl Door,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let destination = arrival.flow.destination;
    outcome.dialled = Some(destination);
    outcome.upstream = Some(destination);
    outcome.cluster = Some(format!("inbound|{}||", destination.port()).into());
    let facts = Facts {
        pod: arrival.pod.uid.clone(),
        direction: arrival.direction,
        client: arrival.client,
        destination,
        flow: Some(arrival.flow.clone()),
    };
    // Registered first, judged by the newest snapshot second, dialled third: no revocation falls between.
    let registration = Rc::new(worker.live.register(facts, outcome.meter()));
    // Boxed: what it takes to get so far is not paid for while the connection lives.
    let next = Box::pin(receive(worker, arrival, door, outcome, &registration)).await?;
    match next {
        Next::Bytes(passing) => {
            let meter = outcome.meter();
            let passed = pin!(pass(worker, passing, Bytes::new(), meter));
            registration.run(passed).await
        }
        Next::Requests(requests, wire, first, spoken) => {
            let served = Box::pin(requests.serve(wire, first, spoken == Spoken::Http2));
            registration.run(served).await
        }
    }
}

async fn receive<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    arrival: Arrival,
    door: impl Door,
    outcome: &mut Outcome,
    registration: &Rc<Registration>,
) -> Result<Next<N>, Failure> {
    let snapshot = worker.snapshot();
    let Some(local) = worker.rules.of(&arrival.pod.uid, &snapshot) else {
        door.refuse(Reason::PodUnknown);
        return Err(Reason::PodUnknown.into());
    };
    let labels = inbound::labels(&snapshot, &local, &arrival.flow);
    let services = inbound::services(&snapshot, &local, arrival.flow.destination.port());
    let planned = plan(&snapshot, &local, &arrival.flow);
    drop((snapshot, local));
    let reception = Reception { worker, arrival, registration, labels, services };
    match planned {
        Ok(Plan::Copy(permit)) => reception.copy(door, permit, outcome).await,
        Ok(Plan::Race(permit)) => reception.race(door, permit, outcome).await,
        Ok(Plan::Requests) => reception.declared(door, outcome).await,
        Ok(Plan::RequestsOnly) => reception.requests_only(door, outcome).await,
        Err(denied) => {
            outcome.classify(reception.labels);
            door.refuse(denied.reason);
            Err(denied)
        }
    }
}

/// What is known of a connection while it is received.
struct Reception<'a, N> {
    worker: &'a Rc<Worker<N>>,
    arrival: Arrival,
    registration: &'a Rc<Registration>,
    labels: Labels,
    services: Vec<Arc<Service>>,
}

impl<N: PodNetwork> Reception<'_, N> {
    async fn copy(self, door: impl Door, permit: Permit, outcome: &mut Outcome) -> Result<Next<N>, Failure> {
        self.is_opaque(outcome);
        let (near, app) = self.connect(door, permit).await?;
        Ok(Next::Bytes(Passing { near, first: Bytes::new(), app }))
    }

    async fn race(self, door: impl Door, permit: Permit, outcome: &mut Outcome) -> Result<Next<N>, Failure> {
        let (mut near, app) = match self.connect(door, permit).await {
            Ok(connected) => connected,
            Err(failure) => {
                outcome.classify(self.labels);
                return Err(failure);
            }
        };
        let racing = Box::pin(peek::race(&mut near, &app));
        let Peeked { first, spoken } = self.registration.run(racing).await?;
        if matches!(spoken, Spoken::Http1 | Spoken::Http2) {
            return Ok(self.requests(outcome, Some(app), near, Peeked { first, spoken }));
        }
        self.is_opaque(outcome);
        judge_bytes(self.worker, &self.arrival)?;
        Ok(Next::Bytes(Passing { near, first, app }))
    }

    async fn declared(self, door: impl Door, outcome: &mut Outcome) -> Result<Next<N>, Failure> {
        let mut near = door.open()?;
        let (limit, head) = (self.worker.limits.http_idle, self.worker.limits.http_head);
        let peeking = Box::pin(async { Ok(timeout(limit, peek::spoken(&mut near, head)).await) });
        let peeked = self.registration.run(peeking).await;
        match peeked {
            Ok(Ok(Ok(peeked))) => Ok(self.requests(outcome, None, near, peeked)),
            failed => {
                outcome.carries_requests();
                match failed? {
                    Ok(failed) => Err(failed.err().unwrap_or_else(|| Reason::ClientReset.into())),
                    Err(_elapsed) => Err(Reason::HalfClosedIdle.into()),
                }
            }
        }
    }

    async fn requests_only(self, door: impl Door, outcome: &mut Outcome) -> Result<Next<N>, Failure> {
        let mut near = door.open()?;
        let limit = self.worker.limits.first_bytes;
        let peeking = Box::pin(async { Ok(timeout(limit, peek::spoken(&mut near, limit)).await) });
        match self.registration.run(peeking).await? {
            Ok(Ok(peeked)) if matches!(peeked.spoken, Spoken::Http1 | Spoken::Http2) => {
                Ok(self.requests(outcome, None, near, peeked))
            }
            _ => {
                self.is_opaque(outcome);
                judge_bytes(self.worker, &self.arrival)?;
                // The policies have changed meanwhile; nothing that has come is lost by coming again.
                Err(Reason::Revoked.into())
            }
        }
    }

    fn is_opaque(&self, outcome: &mut Outcome) {
        self.registration.is_opaque();
        outcome.classify(self.labels.clone());
    }

    fn requests(self, outcome: &mut Outcome, app: Option<Socket>, near: Wire, peeked: Peeked) -> Next<N> {
        self.registration.has_requests();
        outcome.carries_requests();
        let known = (self.labels, self.services);
        let requests =
            Requests::new(self.worker.clone(), &self.arrival, known, self.registration.clone(), app);
        Next::Requests(Box::new(requests), near, peeked.first, peeked.spoken)
    }

    async fn connect(&self, door: impl Door, permit: Permit) -> Result<(Wire, Socket), Failure> {
        let Self { worker, arrival, .. } = self;
        let (pod, client) = (&arrival.pod, arrival.client);
        let dialling = pin!(dial::application(&worker.network, &worker.limits, pod, permit, client));
        match self.registration.run(dialling).await {
            Ok(app) => Ok((door.open()?, app)),
            Err(failure) => {
                door.refuse(failure.reason);
                Err(failure)
            }
        }
    }
}

/// What to do with a connection, by policy, by what its port declares, and by what the pod wants.
fn plan(snapshot: &Snapshot, local: &LocalWorkload, flow: &Flow) -> Result<Plan, Failure> {
    let declared = declared(snapshot, local, flow.destination.port());
    let opaque = matches!(declared, Protocol::Tcp | Protocol::Tls);
    Ok(match (authorize(snapshot, local, flow)?, local.l7) {
        (Verdict::PerRequest, L7Mode::Auto | L7Mode::Rules) if declared.is_http() => Plan::Requests,
        (Verdict::PerRequest, L7Mode::Auto | L7Mode::Rules) if !opaque => Plan::RequestsOnly,
        (Verdict::PerRequest, _) => Plan::Copy(authorize_opaque(snapshot, local, flow)?),
        (Verdict::Permit(_), L7Mode::Auto) if declared.is_http() => Plan::Requests,
        (Verdict::Permit(permit), L7Mode::Auto) if !opaque => Plan::Race(permit),
        (Verdict::Permit(permit), _) => Plan::Copy(permit),
    })
}

/// What the services whose endpoint this workload is say of a port of it.
fn declared(snapshot: &Snapshot, local: &LocalWorkload, port: u16) -> Protocol {
    let workload = snapshot.workload(&local.workload_uid);
    let services = workload.into_iter().flat_map(|workload| &workload.services);
    let said = services.flat_map(|(key, ports)| {
        let service = snapshot.service(key);
        ports.iter().filter(|mapping| mapping.target_port == port).map(move |mapping| {
            let of_service = service.and_then(|service| {
                service.ports.iter().find(|own| own.service_port == mapping.service_port)
            });
            match mapping.protocol {
                Protocol::Unknown => of_service.map_or(Protocol::Unknown, |own| own.protocol),
                said => said,
            }
        })
    });
    // Of several that differ, the one that shows more: requests are seen, and what is none is refused, not let through.
    let rank = |protocol: &Protocol| match protocol {
        Protocol::Unknown => 0,
        Protocol::Tcp | Protocol::Tls => 1,
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => 2,
    };
    said.max_by_key(rank).unwrap_or_default()
}

/// Once more by the newest snapshot, now that it is known to be bytes.
fn judge_bytes<N: PodNetwork>(worker: &Worker<N>, arrival: &Arrival) -> Result<(), Failure> {
    let snapshot = worker.snapshot();
    let local = worker.rules.of(&arrival.pod.uid, &snapshot).ok_or(Reason::PodUnknown)?;
    drop(authorize_opaque(&snapshot, &local, &arrival.flow)?);
    Ok(())
}

/// Copies until both ends have ended. `answered`: what the application has said already.
pub(super) async fn pass<N: PodNetwork>(
    worker: &Worker<N>,
    passing: Passing,
    answered: Bytes,
    meter: &Rc<Meter>,
) -> Result<(), Failure> {
    let Passing { near, first, mut app } = passing;
    let idle = worker.limits.half_closed_idle;
    if !first.is_empty() || !answered.is_empty() {
        return Box::pin(pass_with_first(worker, Passing { near, first, app }, answered, meter)).await;
    }
    match near {
        Wire::Tunnel(mut stream) => {
            copy::tunnelled(&mut app, &mut stream, &worker.arena, Tally::server(meter), idle)
                .await
                .map_err(|error| inbound::broken(&error))?;
            stream.finish();
        }
        Wire::Socket(mut near) => {
            // Boxed: it takes more than a tunnelled connection, which should not have to keep room for it.
            Box::pin(copy::plain(&mut near, &mut app, &worker.arena, Tally::client(meter), idle))
                .await
                .map_err(|error| plaintext::broken(&error))?;
            near.finish();
        }
        Wire::Tls(_) => return Err(Reason::ClientReset.into()),
    }
    app.finish();
    Ok(())
}

async fn pass_with_first<N: PodNetwork>(
    worker: &Worker<N>,
    passing: Passing,
    answered: Bytes,
    meter: &Rc<Meter>,
) -> Result<(), Failure> {
    let Passing { mut near, first, app } = passing;
    let (received, sent) = (first.len(), answered.len());
    let server = |error: std::io::Error| Failure::new(Reason::ServerReset, &error);
    let client = |error: std::io::Error| Failure::new(Reason::ClientReset, &error);
    let forth = async { peek::write_all(app.stream(), first).await.map_err(server) };
    let back = async { peek::answer(&mut near, answered).await.map_err(client) };
    let (forth, back) = tokio::join!(forth, back);
    forth.and(back)?;
    peek::taken(&mut near, received);
    meter.received.set(meter.received.get() + received as u64);
    meter.sent.set(meter.sent.get() + sent as u64);
    Box::pin(pass(worker, Passing { near, first: Bytes::new(), app }, Bytes::new(), meter)).await
}
